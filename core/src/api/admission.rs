//! Who is let in while much is under way: what keeps a cluster alive before what changes it, that before what is
//! read, and large reads last.
//!
//! ```text
//! calls under way:  0 ....... 1/2 ....... 3/4 ....... 7/8 ....... limit
//! let in:           all  -> no bulk -> no reads -> no writes -> not even control
//! ```

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::method::Method;
use crate::types::{Code, Error, Result};

/// Calls that are refused at the same load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// Leases, members, alarms, users, health: few, small, and needed most when there is most to do.
    Control,
    /// Changes of keys.
    Write,
    /// Reads.
    Read,
    /// Reads that take more than a step, and checksums.
    Bulk,
}

impl Class {
    /// Every class, those that are let in longest first.
    pub(crate) const ALL: [Self; 4] = [Self::Control, Self::Write, Self::Read, Self::Bulk];

    /// The value of the metric label `class`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Write => "write",
            Self::Read => "read",
            Self::Bulk => "bulk",
        }
    }

    /// The eighths of the limit up to which it is let in.
    const fn share(self) -> usize {
        match self {
            Self::Control => 8,
            Self::Write => 7,
            Self::Read => 6,
            Self::Bulk => 4,
        }
    }

    /// The class of a method; none for calls that stand open and wait, which are no sign of load.
    pub(crate) const fn of(method: Method) -> Option<Self> {
        match method {
            Method::Watch
            | Method::LeaseKeepAlive
            | Method::HealthWatch
            | Method::Observe
            | Method::Lock
            | Method::Campaign => None,
            Method::Put | Method::DeleteRange | Method::Txn | Method::Compact | Method::Proclaim => Some(Self::Write),
            Method::Range | Method::Leader => Some(Self::Read),
            Method::RangeStream | Method::Snapshot | Method::Hash | Method::HashKv => Some(Self::Bulk),
            _ => Some(Self::Control),
        }
    }
}

/// Calls under way, and those that were refused.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: usize,
    under_way: [AtomicUsize; Class::ALL.len()],
    refused: [AtomicU64; Class::ALL.len()],
}

impl Admission {
    /// Lets at most this many calls be under way.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, under_way: Default::default(), refused: Default::default() }
    }

    /// Counts a call until [`Admission::left`], whether it is let in or not.
    pub(crate) fn entered(&self, class: Class) {
        self.under_way[class as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A call has ended.
    pub(crate) fn left(&self, class: Class) {
        self.under_way[class as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Refuses a call that has entered if too much is under way for its class.
    pub(crate) fn admit(&self, class: Class) -> Result<()> {
        let all: usize = Class::ALL.iter().map(|class| self.under_way(*class)).sum();
        if all <= self.limit.saturating_mul(class.share()) / 8 {
            return Ok(());
        }
        self.refused[class as usize].fetch_add(1, Ordering::Relaxed);
        Err(Error::from(Code::Overloaded))
    }

    /// The calls of a class that are under way.
    pub(crate) fn under_way(&self, class: Class) -> usize {
        self.under_way[class as usize].load(Ordering::Relaxed)
    }

    /// How many of them were refused.
    pub(crate) fn refused(&self, class: Class) -> u64 {
        self.refused[class as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_is_refused_first_and_control_last() {
        let admission = Admission::new(80);
        let mut let_in = [0; 4];
        // Each call stays: what is let in while the load grows tells where the border is.
        for _ in 0..100 {
            admission.entered(Class::Write);
            for class in Class::ALL {
                let_in[class as usize] += usize::from(admission.admit(class).is_ok());
            }
        }
        assert_eq!(let_in, [80, 70, 60, 40]);
        assert_eq!(Class::ALL.map(|class| admission.refused(class)), [20, 30, 40, 60]);
        for _ in 0..100 {
            admission.left(Class::Write);
        }
        admission.admit(Class::Bulk).expect("nothing is under way");
    }

    #[test]
    fn a_refusal_is_one_that_clients_know() {
        let admission = Admission::new(0);
        admission.entered(Class::Control);
        let error = admission.admit(Class::Control).expect_err("nothing is let in");
        assert_eq!((error.code().grpc() as i32, error.message()), (8, "etcdserver: too many requests"));
    }
}
