//! Networks that fall apart.

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::network::{Network, Way};

/// Who can still hear whom.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// One alone; the leader, if there is one.
    Alone,
    /// Two parts.
    Halves,
    /// Everybody hears only the neighbours.
    Ring,
    /// Two parts, and one member that hears both.
    Bridge,
    /// One is heard and hears nobody, or the other way around.
    OneWay,
    /// Some links are slow.
    Slow,
    /// Some links lose much.
    Lossy,
}

const SHAPES: [Shape; 7] =
    [Shape::Alone, Shape::Halves, Shape::Ring, Shape::Bridge, Shape::OneWay, Shape::Slow, Shape::Lossy];

/// Has the network fall apart somehow.
pub(crate) fn cut(network: &Network, hosts: &[usize], leader: Option<usize>, random: &mut ChaCha8Rng) -> Shape {
    let shape = SHAPES[random.random_range(0..SHAPES.len())];
    let mut order = hosts.to_vec();
    order.shuffle(random);
    if let Some(leader) = leader.filter(|_| random.random_ratio(2, 3)) {
        order.retain(|host| *host != leader);
        order.insert(0, leader);
    }
    let half = random.random_range(1..order.len().max(2));
    let slow = Way {
        delay: Duration::from_millis(random.random_range(20..300)),
        jitter: Duration::from_millis(200),
        ..Way::GOOD
    };
    let lossy = Way { loss: random.random_range(0.05..0.5), ..Way::GOOD };
    let deaf = random.random();
    for (at, from) in order.iter().enumerate() {
        for (to_at, to) in order.iter().enumerate().filter(|(to_at, _)| *to_at != at) {
            let apart = (at < half) != (to_at < half);
            let distance = at.abs_diff(to_at);
            let way = match shape {
                Shape::Alone => Way { cut: at == 0 || to_at == 0, ..Way::GOOD },
                Shape::Halves => Way { cut: apart, ..Way::GOOD },
                Shape::Ring => Way { cut: distance != 1 && distance != order.len() - 1, ..Way::GOOD },
                Shape::Bridge => Way { cut: apart && at != 0 && to_at != 0, ..Way::GOOD },
                Shape::OneWay => Way { cut: if deaf { to_at == 0 } else { at == 0 }, ..Way::GOOD },
                Shape::Slow if random.random() => slow,
                Shape::Lossy if random.random() => lossy,
                Shape::Slow | Shape::Lossy => Way::GOOD,
            };
            network.set(*from, *to, way);
        }
    }
    shape
}
