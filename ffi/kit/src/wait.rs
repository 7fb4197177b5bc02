//! Waiting for a future on the caller's thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Drives `future` to its end, or until `limit` has passed; then it is still good, and can be waited for again. One that
/// has its next step at hand gets at least that, however short the limit is.
///
/// The thread is somebody else's: its parking token and its async runtime, if it has one, are left alone.
pub(crate) fn wait<T>(mut future: Pin<&mut dyn Future<Output = T>>, limit: Option<Duration>) -> Option<T> {
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut context = Context::from_waker(&waker);
    // A time too far away to be told is as good as none.
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut woken = false;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        // One that wakes itself, because it does much in small steps, would never come to wait until then.
        if woken && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
        woken = signal.wait(deadline);
        if !woken {
            return None;
        }
    }
}

#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// False if the deadline came first.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut woken = self.woken.lock();
        while !*woken {
            match deadline {
                None => self.changed.wait(&mut woken),
                Some(deadline) if self.changed.wait_until(&mut woken, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        std::mem::take(&mut *woken)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::thread;

    use futures::channel::oneshot;
    use futures::future::poll_fn;

    use super::*;

    #[test]
    fn a_future_that_wakes_itself_is_held_to_the_limit() {
        let mut steps = 0;
        let mut many = pin!(poll_fn(|context| {
            steps += 1;
            context.waker().wake_by_ref();
            if steps == 10_000_000 { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert_eq!(wait(many.as_mut(), Some(Duration::from_millis(1))), None);
        assert_eq!(wait(many.as_mut(), Some(Duration::ZERO)), None);
        // It got its step each time, so that it comes to its end even then.
        let mut two = 0;
        let two = pin!(poll_fn(|context| {
            two += 1;
            context.waker().wake_by_ref();
            if two == 2 { Poll::Ready(two) } else { Poll::Pending }
        }));
        assert_eq!(wait(two, Some(Duration::ZERO)), Some(2));
    }

    #[test]
    fn a_wait_ends_with_the_future_or_at_its_limit() {
        let (sender, receiver) = oneshot::channel();
        let mut receiver = pin!(receiver);
        assert_eq!(wait(receiver.as_mut(), Some(Duration::ZERO)), None);
        assert_eq!(wait(receiver.as_mut(), Some(Duration::from_millis(1))), None);
        let (go, gone) = mpsc::channel();
        let other = thread::spawn(move || {
            gone.recv().expect("a go");
            sender.send(7).expect("a receiver");
        });
        go.send(()).expect("the other thread");
        assert_eq!(wait(receiver, None), Some(Ok(7)));
        other.join().expect("no panic");
        assert_eq!(wait(pin!(async { 1 }), Some(Duration::MAX)), Some(1));
    }
}
