//! Makes segments before they are needed and puts those away that are not needed any more, on a
//! thread of its own.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::job::{Job, Work};
use super::segment::Segment;
use crate::env::Queue;

/// What the preparer is asked to do.
pub(super) enum Prepare {
    /// Make this segment and report it.
    Make(Segment, Queue<Job>),
    /// Take a file that the log needs no more. `reusable`: nobody reads it.
    Release { name: String, reusable: bool },
}

/// The one that does it.
pub(super) struct Preparer {
    disk: Arc<dyn Disk>,
    /// Oldest first: a crash must never leave a gap between segments that are in use.
    spares: VecDeque<String>,
    max_spares: usize,
}

impl Preparer {
    pub(super) const fn new(disk: Arc<dyn Disk>, max_spares: usize) -> Self {
        Self { disk, spares: VecDeque::new(), max_spares }
    }

    pub(super) fn handle(&mut self, jobs: VecDeque<Prepare>) {
        for job in jobs {
            match job {
                Prepare::Make(segment, queue) => {
                    let made = self.make(&segment).map(|file| (segment, file));
                    queue.push(Job { purge: None, committed: None, work: Work::Ready(made) });
                }
                Prepare::Release { name, reusable } => {
                    if reusable {
                        self.spares.push_back(name);
                    } else {
                        self.remove(&name);
                    }
                    while self.spares.len() > self.max_spares {
                        if let Some(oldest) = self.spares.pop_front() {
                            self.remove(&oldest);
                        }
                    }
                }
            }
        }
    }

    fn make(&mut self, segment: &Segment) -> io::Result<Arc<dyn super::disk::DiskFile>> {
        let spare = self.spares.pop_front();
        let made = segment.create(self.disk.as_ref(), spare.as_deref());
        if made.is_err()
            && let Some(spare) = spare
            && self.disk.list().is_ok_and(|names| names.contains(&spare))
        {
            self.spares.push_front(spare);
        }
        made
    }

    /// A file that stays is only space lost: the next start finds it again.
    fn remove(&self, name: &str) {
        if let Err(error) = self.disk.remove(name) {
            tracing::warn!(%error, file = name, "cannot remove an old log segment");
        }
    }
}
