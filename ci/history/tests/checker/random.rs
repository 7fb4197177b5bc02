//! Random histories: good ones pass, spoilt ones do not, and the slow search agrees.

#![allow(clippy::print_stdout, reason = "the rates are worth reading")]

use keelkv_history::{Invariant, Linearization, check, linearize};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::mutation;
use crate::simulate::{simulate, simulate_keys};
use crate::world::passes;

#[test]
fn a_correct_store_always_passes() {
    for seed in 0..100 {
        passes(&simulate(seed, 400));
    }
}

#[test]
fn a_correct_store_passes_without_full_histories() {
    for seed in 1000..1030 {
        let mut history = simulate(seed, 200);
        history.full.clear();
        passes(&history);
    }
}

#[test]
fn one_spoilt_thing_is_found() {
    for (kind, (name, mutate)) in mutation::ALL.iter().enumerate() {
        let (mut tried, mut caught) = (0, 0);
        for seed in 0..40 {
            let mut history = simulate(seed, 300);
            let mut random = SmallRng::seed_from_u64(seed * 100 + kind as u64);
            if mutate(&mut history, &mut random).is_some() {
                tried += 1;
                caught += u32::from(!check(&history).is_clean());
            }
        }
        println!("{name}: {caught} of {tried} found");
        assert!(tried >= 5, "{name}: only {tried} histories could be spoilt so");
        assert_eq!(caught, tried, "{name}");
    }
}

#[test]
fn the_search_agrees_on_short_histories() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..600 {
        let mut history = simulate_keys(seed, 14);
        let spoil = seed % 3;
        let mut random = SmallRng::seed_from_u64(seed);
        let mutate = mutation::ALL[6 + (seed / 3 % 3) as usize].1;
        if spoil > 0 && mutate(&mut history, &mut random).is_none() {
            continue;
        }
        let report = check(&history);
        let of_order = [Invariant::Linearizable, Invariant::Revisions, Invariant::Durability];
        let fast = !report.violations.iter().any(|violation| of_order.contains(&violation.invariant));
        match linearize(&history) {
            Linearization::Found => good += 1,
            Linearization::None => {
                bad += 1;
                assert!(!fast, "seed {seed}: the search finds no order, the checker finds nothing wrong");
            }
            Linearization::TooLong => panic!("seed {seed}: too long"),
        }
        // The search knows no watches and no full histories: only what is right for sure must have an order.
        assert!(!fast || linearize(&history) == Linearization::Found, "seed {seed}:\n{report}");
    }
    println!("the search: {good} with an order, {bad} without");
    assert!(good > 100 && bad > 50, "{good} with an order, {bad} without");
}
