//! What a process that was forked from another must leave alone.

use std::fmt;
use std::mem;
use std::process;

use keelkv_core::types::{Code, Error, Result};

/// Something with locks and threads that belongs to the process which made it.
///
/// A process that was forked from that one has a copy of it, whose locks may be held by threads that are only in the
/// other. So it cannot be used there, and is forgotten instead of dropped: either could wait for ever.
pub(crate) struct OfProcess<T> {
    /// `None` once it was taken.
    value: Option<T>,
    process: u32,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), process: process::id() }
    }

    /// It, or an error in another process.
    pub(crate) fn get(&self) -> Result<&T> {
        self.value.as_ref().filter(|_| self.is_here()).ok_or_else(|| {
            let text = format!(
                "the member runs in process {}, from which this one was forked: start a member here, after the fork",
                self.process
            );
            Error::new(Code::BadRequest, text)
        })
    }

    /// It, to end it; `None` in another process.
    pub(crate) fn take(&mut self) -> Option<T> {
        if self.is_here() { self.value.take() } else { None }
    }

    fn is_here(&self) -> bool {
        process::id() == self.process
    }

    /// Makes of it what a forked process has.
    #[cfg(test)]
    pub(crate) const fn fork(&mut self) {
        self.process += 1;
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if !self.is_here() {
            mem::forget(self.value.take());
        }
    }
}

impl<T> fmt::Debug for OfProcess<T> {
    /// Without the thing itself, whose own way may take its locks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfProcess").field("process", &self.process).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_forked_process_neither_uses_nor_drops_it() {
        let kept = Arc::new(());
        let here = OfProcess::new(Arc::clone(&kept));
        here.get().expect("it is used where it was made");
        drop(here);
        assert_eq!(Arc::strong_count(&kept), 1);

        let mut there = OfProcess::new(Arc::clone(&kept));
        there.fork();
        let refused = there.get().expect_err("this is another process");
        assert_eq!(refused.code(), Code::BadRequest);
        assert!(refused.message().contains("after the fork"), "{refused}");
        assert!(there.take().is_none());
        drop(there);
        assert_eq!(Arc::strong_count(&kept), 2);
    }
}
