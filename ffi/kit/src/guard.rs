//! The last fence before another language.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use keelkv_core::types::{Code, Error, Result};

/// Calls `call`, and makes an error of a panic in it: no other language can unwind through Rust's frames.
///
/// What a panic left half done is in the hands of this library alone, whose locks do not poison: the member may be
/// stopped afterwards, and should be.
pub fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no text");
    Error::new(Code::Internal, format!("a fault in keelkv, please report it: {text}; stop this member"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = guarded::<()>(|| panic!("{} went wrong", 1)).expect_err("it panicked");
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().contains("1 went wrong"), "{error}");
        assert_eq!(guarded(|| Ok(1)), Ok(1));
    }
}
