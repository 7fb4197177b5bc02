//! One call for all streams of a thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::support::{Bell, Client, World, put, seen, watch};
use crate::watch::Options;

#[test]
fn a_relay_is_called_once_and_wakes_its_streams() {
    let world = World::new(Options::default());
    let relay = world.hub.relay();
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(world.hub.open_on(&relay))).collect();
    let mut other = world.client();
    for (client, key) in clients.iter_mut().zip(["a", "a", "b"]).chain([(&mut other, "a")]) {
        client.create(watch(key, ""));
        assert_eq!(client.take_all().len(), 1);
    }
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut run = pin!(relay.run());
    let mut poll = || run.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    assert!(!poll());
    assert!(!bell.rang());

    world.write(&[&[put("a", "1")], &[put("a", "2")]]);
    assert!(other.bell.rang());
    assert!(bell.rang());
    assert!(clients.iter().all(|client| !client.bell.rang()), "only the relay was called");
    world.write(&[&[put("a", "3")]]);
    assert!(!bell.rang(), "it knows already");
    assert!(!poll());
    let rang: Vec<_> = clients.iter().map(|client| client.bell.rang()).collect();
    assert_eq!(rang, [true, true, false]);
    assert_eq!(seen(&clients[0].take_all()).len(), 3);

    world.hub.close();
    assert!(bell.rang());
    assert!(poll(), "the relay ends with its hub");
    assert!(clients.iter_mut().all(Client::has_ended));
    assert!(pin!(world.hub.relay().run()).poll(&mut Context::from_waker(&waker)).is_ready());
}
