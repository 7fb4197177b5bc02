//! Errors, as things that the caller owns.

use std::ffi::{CString, c_char};

use keelkv_kit::{Error, constants, may_have_been_done};

use crate::entry;

/// Why a call failed. Yours to free. May be read by many threads.
pub struct ErrorHandle {
    code: i32,
    message: CString,
}

impl ErrorHandle {
    pub(crate) fn new(error: &Error) -> Self {
        let text: Vec<u8> = error.message().bytes().filter(|byte| *byte != 0).collect();
        Self { code: i32::from(error.code().number()), message: CString::new(text).unwrap_or_default() }
    }
}

/// The number of the failure: one of KEELKV_CODE_*, which never change. 0 for NULL.
///
/// # Safety
/// `error` is NULL or not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_error_code(error: *const ErrorHandle) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { error.as_ref() }.map_or(0, |error| error.code)
}

/// One line that says what went wrong and, unless the words are etcd's, what to do. It is good until the error is freed.
/// Empty for NULL.
///
/// # Safety
/// `error` is NULL or not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_error_message(error: *const ErrorHandle) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Whether a call that failed with this number may have been done all the same, or may still be: 1 if so, and 0 if nothing
/// was done. Read before you ask again.
#[unsafe(no_mangle)]
pub extern "C" fn keelkv_code_may_have_been_done(code: i32) -> i32 {
    let code = constants().map(|(_, known)| known).find(|known| i32::from(known.number()) == code);
    i32::from(code.is_some_and(may_have_been_done))
}

/// Frees an error. NULL is nothing.
///
/// # Safety
/// `error` is NULL, or it is not freed yet and used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_error_free(error: *mut ErrorHandle) {
    // SAFETY: the caller's promise.
    unsafe { entry::free(error) };
}
