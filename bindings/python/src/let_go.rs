//! Letting go of what takes a while to end.

use std::mem::ManuallyDrop;
use std::ops::Deref;

use pyo3::prelude::*;

/// Something of which dropping the last stops a member and waits for that: other threads of the interpreter run meanwhile.
pub(crate) struct LetGo<T: Send>(ManuallyDrop<T>);

impl<T: Send> LetGo<T> {
    pub(crate) const fn new(held: T) -> Self {
        Self(ManuallyDrop::new(held))
    }
}

impl<T: Send> Deref for LetGo<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send> Drop for LetGo<T> {
    fn drop(&mut self) {
        // SAFETY: this is the end of it, where nobody looks at it any more.
        let held = unsafe { ManuallyDrop::take(&mut self.0) };
        // Without an interpreter it is dropped with the closure.
        let _ = Python::try_attach(move |py| py.detach(move || drop(held)));
    }
}
