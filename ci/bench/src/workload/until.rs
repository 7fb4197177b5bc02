use std::sync::atomic::{AtomicBool, Ordering};

use super::Workload;

/// Another load, until somebody says that it is enough. With a plan for [`crate::generator::UNTIL_DONE`] everything is
/// measured up to the last answer, also one that takes longer than the stretch was meant to.
pub struct Until<'a, W> {
    load: W,
    enough: &'a AtomicBool,
}

impl<'a, W> Until<'a, W> {
    /// Issues the requests of `load` while `enough` is not set.
    pub fn new(load: W, enough: &'a AtomicBool) -> Self {
        Self { load, enough }
    }
}

impl<W: Workload> Workload for Until<'_, W> {
    fn path(&self) -> &'static str {
        self.load.path()
    }

    fn streaming(&self) -> bool {
        self.load.streaming()
    }

    fn request(&mut self, slot: usize, out: &mut Vec<u8>) -> bool {
        !self.enough.load(Ordering::Relaxed) && self.load.request(slot, out)
    }

    fn reply(&mut self, slot: usize, body: &[u8]) -> Result<(), String> {
        self.load.reply(slot, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Put;

    #[test]
    fn no_request_follows_once_it_is_enough() {
        let enough = AtomicBool::new(false);
        let mut load = Until::new(Put::new(b'k', 1, 1), &enough);
        let mut request = Vec::new();
        assert!(load.request(0, &mut request) && !request.is_empty());
        enough.store(true, Ordering::Relaxed);
        assert!(!load.request(0, &mut request));
    }
}
