//! Measurements that are not a rate at several loads.

pub mod idle_watchers;
pub mod large;
pub mod load;

/// The median of figures that can be ordered.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}
