//! The checker on histories that are good, on ones that are bad in one way each, and on random ones.

mod bad;
mod good;
mod lines;
mod mutation;
mod random;
mod simulate;
mod speed;
mod world;
