//! A member: started, used, stopped.

use keelkv_kit::{Member, Result};

use crate::bytes::Buffer;
use crate::entry::{self, answer, copied, enter, thing};
use crate::error::ErrorHandle;
use crate::options::OptionsHandle;

/// A member that runs in this process, on threads of its own. Yours to free. Any thread may use it at any time.
pub struct NodeHandle(pub(crate) Member);

/// Starts a member and waits until it serves. The options may be NULL, and are not needed afterwards.
///
/// Returns 0 and the member at `node`, or the number of an error, which is then also at `error` unless that is NULL.
///
/// # Safety
/// `options` is NULL or not freed yet; `node` and `error` may be written through.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_node_start(
    options: *const OptionsHandle,
    node: *mut *mut NodeHandle,
    error: *mut *mut ErrorHandle,
) -> i32 {
    enter(error, || {
        let node = answer(node, "node")?;
        // SAFETY: the caller's promise.
        let options = unsafe { OptionsHandle::chosen(options) };
        let member = Member::start(options).wait()?;
        // SAFETY: not null, and the caller's promise.
        unsafe { node.write(Box::into_raw(Box::new(NodeHandle(member)))) };
        Ok(())
    })
}

/// Writes a key, and waits until that is durable. The bytes are copied.
///
/// Returns 0 and the key's new revision at `revision` unless that is NULL, or the number of an error, which is then also
/// at `error` unless that is NULL. Whether it may have been written all the same keelkv_code_may_have_been_done says.
///
/// # Safety
/// `node` is not freed yet; `key` and `value` have as many bytes as is said; `revision` and `error` may be written
/// through.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_node_put(
    node: *const NodeHandle,
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
    revision: *mut i64,
    error: *mut *mut ErrorHandle,
) -> i32 {
    enter(error, || {
        // SAFETY: the caller's promises.
        let (node, key, value) =
            unsafe { (thing(node, "node")?, copied(key, key_len, "key")?, copied(value, value_len, "value")?) };
        let made = node.0.put(key, value).wait()?;
        if !revision.is_null() {
            // SAFETY: not null, and the caller's promise.
            unsafe { revision.write(made) };
        }
        Ok(())
    })
}

/// Reads a key, with everything that was acknowledged before.
///
/// Returns 0 and the value at `value`, which you free; its `data` is NULL if the key is not there. The revision of its
/// last change goes to `mod_revision` unless that is NULL, 0 if the key is not there. Otherwise returns the number of an
/// error, which is then also at `error` unless that is NULL.
///
/// # Safety
/// `node` is not freed yet; `key` has as many bytes as is said; `value`, `mod_revision` and `error` may be written
/// through.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_node_get(
    node: *const NodeHandle,
    key: *const u8,
    key_len: usize,
    value: *mut Buffer,
    mod_revision: *mut i64,
    error: *mut *mut ErrorHandle,
) -> i32 {
    enter(error, || {
        // SAFETY: the caller's promises.
        let (node, key) = unsafe { (thing(node, "node")?, copied(key, key_len, "key")?) };
        let value = answer(value, "value")?;
        let found = node.0.get(key).wait()?;
        let (bytes, changed) = found.map_or((Buffer::NONE, 0), |pair| (Buffer::new(&pair.value), pair.mod_revision));
        // SAFETY: not null, and the caller's promise.
        unsafe { value.write(bytes) };
        if !mod_revision.is_null() {
            // SAFETY: not null, and the caller's promise.
            unsafe { mod_revision.write(changed) };
        }
        Ok(())
    })
}

/// Stops the member: what is on its way is answered, those who wait get KEELKV_CODE_STOPPED, and its directory is free
/// afterwards. A second time does nothing. Free it all the same.
///
/// Returns 0, or the number of an error, which is then also at `error` unless that is NULL.
///
/// # Safety
/// `node` is not freed yet; `error` may be written through.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_node_stop(node: *const NodeHandle, error: *mut *mut ErrorHandle) -> i32 {
    enter(error, || -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { thing(node, "node") }?.0.stop().wait()
    })
}

/// Frees a member; stops it first if it runs. NULL is nothing. Its watches may be freed before or after it.
///
/// # Safety
/// `node` is NULL, or it is not freed yet, nobody is in a call with it, and it is used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_node_free(node: *mut NodeHandle) {
    if node.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        keelkv_node_stop(node, std::ptr::null_mut());
        entry::free(node);
    }
}
