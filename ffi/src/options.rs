//! What a member is told at its start.

use std::ffi::c_char;

use keelkv_kit::{Options, Result};

use crate::entry::{self, enter};
use crate::error::ErrorHandle;

/// What a member is told at its start. Yours to free. For one thread at a time.
pub struct OptionsHandle(Options);

impl OptionsHandle {
    /// # Safety
    /// `options` is null or not freed yet.
    pub(crate) unsafe fn chosen(options: *const Self) -> Options {
        // SAFETY: the caller's promise.
        unsafe { options.as_ref() }.map(|options| options.0.clone()).unwrap_or_default()
    }
}

/// The version of this library, as "1.2.3".
#[unsafe(no_mangle)]
pub extern "C" fn keelkv_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Options that say nothing: a member called "default", with its data in memory.
#[unsafe(no_mangle)]
pub extern "C" fn keelkv_options_new() -> *mut OptionsHandle {
    Box::into_raw(Box::new(OptionsHandle(Options::default())))
}

/// Sets one option. Both texts are copied. There are:
///
/// - "name": what the member calls itself.
/// - "data-dir": where its data is kept, made if it is missing. Empty: in memory, gone with the member.
///
/// Returns 0, or the number of an error, which is then also at `error` unless that is NULL.
///
/// # Safety
/// `options` is not freed yet; `name` and `value` end with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_options_set(
    options: *mut OptionsHandle,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut ErrorHandle,
) -> i32 {
    enter(error, || -> Result<()> {
        // SAFETY: the caller's promises.
        let (options, name, value) = unsafe {
            let options = options.as_mut().ok_or_else(|| entry::missing("options"))?;
            (options, entry::text(name, "name")?, entry::text(value, "value")?)
        };
        options.0.set(name, value)
    })
}

/// Frees options. NULL is nothing.
///
/// # Safety
/// `options` is NULL, or it is not freed yet and used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_options_free(options: *mut OptionsHandle) {
    // SAFETY: the caller's promise.
    unsafe { entry::free(options) };
}
