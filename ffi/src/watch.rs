//! A watch: pulled with a call that waits.

use std::ptr;
use std::time::Duration;

use keelkv_kit::{Result, Watch};

use crate::entry::{self, answer, copied, enter, thing};
use crate::error::ErrorHandle;
use crate::events::EventsHandle;
use crate::node::NodeHandle;

/// A watch. Yours to free. Any thread may use it at any time; what one gets from it another does not.
pub struct WatchHandle(Watch);

/// Watches the keys from `key` up to, and without, `range_end`: the key alone if that is empty, all keys from `key` on
/// if it is one zero byte. From `start_revision` on, or from now on if it is 0. The bytes are copied.
///
/// Returns 0 and the watch at `watch`, or the number of an error, which is then also at `error` unless that is NULL.
///
/// # Safety
/// `node` is not freed yet; `key` and `range_end` have as many bytes as is said; `watch` and `error` may be written
/// through.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_node_watch(
    node: *const NodeHandle,
    key: *const u8,
    key_len: usize,
    range_end: *const u8,
    range_end_len: usize,
    start_revision: i64,
    watch: *mut *mut WatchHandle,
    error: *mut *mut ErrorHandle,
) -> i32 {
    enter(error, || {
        // SAFETY: the caller's promises.
        let (node, key, range_end) = unsafe {
            (thing(node, "node")?, copied(key, key_len, "key")?, copied(range_end, range_end_len, "range_end")?)
        };
        let watch = answer(watch, "watch")?;
        let made = node.0.watch(key, range_end, start_revision)?;
        // SAFETY: not null, and the caller's promise.
        unsafe { watch.write(Box::into_raw(Box::new(WatchHandle(made)))) };
        Ok(())
    })
}

/// Waits for events, at most `timeout_ms` milliseconds; for ever if that is negative.
///
/// Returns 0 and the events at `events`, which you free, or NULL there if the time was over; call again. Otherwise
/// returns the number of an error, which is then also at `error` unless that is NULL:
///
/// - KEELKV_CODE_WATCH_CANCELED, KEELKV_CODE_STOPPED: by keelkv_watch_cancel, or with its member.
/// - KEELKV_CODE_COMPACTED: what it has not seen yet is not kept any more.
/// - KEELKV_CODE_INTERNAL: a fault of this library.
/// - KEELKV_CODE_BAD_REQUEST: an argument is NULL, or this process was forked from the member's.
///
/// After all but the last the watch has ended.
///
/// # Safety
/// `watch` is not freed yet; `events` and `error` may be written through.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_watch_next(
    watch: *const WatchHandle,
    timeout_ms: i64,
    events: *mut *mut EventsHandle,
    error: *mut *mut ErrorHandle,
) -> i32 {
    enter(error, || {
        // SAFETY: the caller's promise.
        let watch = unsafe { thing(watch, "watch") }?;
        let events = answer(events, "events")?;
        let next = watch.0.next();
        let batch = match u64::try_from(timeout_ms) {
            Ok(limit) => next.wait_for(Duration::from_millis(limit)).transpose()?,
            Err(_) => Some(next.wait()?),
        };
        let batch = batch.map_or(ptr::null_mut(), |batch| Box::into_raw(Box::new(EventsHandle::new(batch))));
        // SAFETY: not null, and the caller's promise.
        unsafe { events.write(batch) };
        Ok(())
    })
}

/// Ends a watch: whoever waits for it, and whoever asks later, gets KEELKV_CODE_WATCH_CANCELED. Free it all the same. In
/// a process that was forked from the member's it does nothing.
///
/// Returns 0, or the number of an error, which is then also at `error` unless that is NULL.
///
/// # Safety
/// `watch` is not freed yet; `error` may be written through.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_watch_cancel(watch: *const WatchHandle, error: *mut *mut ErrorHandle) -> i32 {
    enter(error, || -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { thing(watch, "watch") }?.0.cancel();
        Ok(())
    })
}

/// Frees a watch. NULL is nothing. Its member may have been freed before.
///
/// # Safety
/// `watch` is NULL, or it is not freed yet, nobody is in a call with it, and it is used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_watch_free(watch: *mut WatchHandle) {
    // SAFETY: the caller's promise.
    unsafe { entry::free(watch) };
}
