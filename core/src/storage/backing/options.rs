//! How much the write-behind may hold.

use std::sync::Arc;
use std::time::Duration;

/// Hears of what the write-behind does. Called from its thread: it must be quick.
pub trait WriteObserver: std::fmt::Debug + Send + Sync {
    /// A batch reached the engine; that took `took`.
    fn written(&self, took: Duration);
}

/// Bounds of a [`super::Backing`].
#[derive(Clone, Debug)]
pub struct BackingOptions {
    /// Changes that the engine does not have yet: from here on proposals are refused.
    pub overlay_bytes_max: usize,
    /// Written since the last flush: from here on a flush begins by itself; at twice this the writer
    /// waits for it.
    pub flush_bytes: usize,
    /// One write to the engine takes no more than about this.
    pub merge_bytes: usize,
    /// Values kept in memory after they have left the overlay.
    pub cache_bytes: usize,
    /// How often to look whether there is room, and whether the engine still works.
    pub check_interval: Duration,
    /// Told about each write.
    pub observer: Option<Arc<dyn WriteObserver>>,
}

impl Default for BackingOptions {
    fn default() -> Self {
        Self {
            overlay_bytes_max: 64 << 20,
            flush_bytes: 8 << 20,
            merge_bytes: 1 << 20,
            cache_bytes: 8 << 20,
            check_interval: Duration::from_secs(1),
            observer: None,
        }
    }
}
