//! A watch shows every change that it asked for, once, whole, in order, and what it says of itself is true.

use super::Findings;
use crate::record::{Event, Watch, WatchResponse};
use crate::timeline::Timeline;
use crate::trace::{Focus, event as show, span};

const CANCELED: &str = "the watch was cancelled for no reason";

pub(super) fn check(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    for watch in &timeline.history.watches {
        let Some(first) = watch.first() else {
            if let Some(response) = watch.responses.iter().find(|response| !response.events.is_empty()) {
                complain(findings, watch, response.revision, "events came on a watch that was never made".into());
            }
            if watch.responses.iter().any(|response| response.canceled && response.compact_revision == 0) {
                complain(findings, watch, watch.start, CANCELED.into());
            }
            continue;
        };
        let expected = expected(timeline, watch, first);
        Reader { timeline, watch, first, expected, next: 0, reached: first - 1, told: 0 }.read(findings);
    }
}

/// Goes through what a watch received beside what it had to receive.
struct Reader<'a> {
    timeline: &'a Timeline<'a>,
    watch: &'a Watch,
    /// First revision wanted.
    first: i64,
    expected: Vec<&'a Event>,
    /// The next one expected.
    next: usize,
    /// The last revision that is known to be complete.
    reached: i64,
    /// The last progress.
    told: i64,
}

/// Everything that a watch has to show, up to the last revision that it speaks of.
fn expected<'a>(timeline: &'a Timeline<'a>, watch: &Watch, first: i64) -> Vec<&'a Event> {
    let spoken = watch.responses.iter().filter(|response| !response.created && !response.canceled);
    let spoken =
        spoken.flat_map(|response| response.events.iter().map(|event| event.kv.modified).chain([response.revision]));
    let last = spoken.max().unwrap_or(0).max(watch.complete_through).min(timeline.last());
    let entries = (first.max(2)..=last).filter_map(|revision| timeline.entry(revision));
    entries.flat_map(|entry| &entry.events).filter(|event| watch.wants(event)).collect()
}

fn complain(findings: &mut Findings<'_>, watch: &Watch, revision: i64, what: String) {
    findings.add(Focus::revision(revision), || {
        let from = if watch.start > 0 { format!("revision {}", watch.start) } else { "its making".into() };
        let (client, member, keys) = (watch.client, watch.member, span(&watch.span));
        format!("{what} (client {client} watching {keys} from {from} on member {member:x})")
    });
}

impl<'a> Reader<'a> {
    fn read(mut self, findings: &mut Findings<'_>) {
        let (mut created, mut canceled) = (false, false);
        for response in &self.watch.responses {
            let mut wrong = |what: &str| complain(findings, self.watch, response.revision, what.into());
            if canceled {
                wrong("a response after the watch was cancelled");
            }
            if !created && !response.created {
                wrong("a response before the watch was made");
            }
            if created && response.created {
                wrong("the watch was made twice");
            }
            if response.fragment && !self.watch.fragment {
                wrong("a fragment that was not asked for");
            }
            created |= response.created;
            canceled |= response.canceled;
            self.events(findings, response);
            if response.is_progress() {
                self.progress(findings, response);
            }
            if response.canceled && response.compact_revision > 0 {
                self.compacted(findings, response);
            } else if response.canceled {
                complain(findings, self.watch, response.revision, CANCELED.into());
            }
        }
        let due = self.expected.get(self.next).filter(|event| event.kv.modified <= self.watch.complete_through);
        if let Some(due) = due.filter(|_| !canceled) {
            complain(findings, self.watch, due.kv.modified, format!("never came: {}", show(due)));
        }
    }

    fn events(&mut self, findings: &mut Findings<'_>, response: &WatchResponse) {
        for event in &response.events {
            self.event(findings, response, event);
        }
        let Some(last) = response.events.last().map(|event| event.kv.modified) else { return };
        if response.revision < last {
            let what = format!("events of revision {last} in a response of revision {}", response.revision);
            complain(findings, self.watch, last, what);
        }
        let rest = self.expected.get(self.next).filter(|event| event.kv.modified == last);
        match rest {
            Some(rest) if !response.fragment => {
                complain(findings, self.watch, last, format!("revision {last} was divided, without: {}", show(rest)));
            }
            Some(_) => {}
            None => self.reached = self.reached.max(last),
        }
    }

    fn event(&mut self, findings: &mut Findings<'_>, response: &WatchResponse, event: &Event) {
        let is = |expected: &&Event| {
            (expected.kv.modified, &expected.kv.key, expected.deleted)
                == (event.kv.modified, &event.kv.key, event.deleted)
        };
        let Some(ahead) = self.expected[self.next..].iter().position(is) else {
            let what = self.unexpected(event);
            complain(findings, self.watch, event.kv.modified, format!("{what}: {}", show(event)));
            return;
        };
        let (missed, expected) = (self.expected[self.next], self.expected[self.next + ahead]);
        self.next += ahead + 1;
        if ahead > 0 {
            let what = format!("{ahead} events were left out before {}, first: {}", show(event), show(missed));
            complain(findings, self.watch, missed.kv.modified, what);
        }
        if event.kv != expected.kv {
            let what = format!("an event is [{}], expected [{}]", show(event), show(expected));
            complain(findings, self.watch, event.kv.modified, what);
        }
        let wanted = expected.prev.as_ref().filter(|_| self.watch.prev_kv);
        let compacted = || self.may_be_compacted(response.received, event.kv.modified);
        if event.prev.as_ref() != wanted && !(event.prev.is_none() && compacted()) {
            let wanted = Event { prev: wanted.cloned(), ..expected.clone() };
            let what = format!("an event says [{}], expected [{}]", show(event), show(&wanted));
            complain(findings, self.watch, event.kv.modified, what);
        }
    }

    /// What is wrong with an event that is not among those to come.
    fn unexpected(&self, event: &Event) -> &'static str {
        let same = |other: &Event| {
            (other.kv.modified, &other.kv.key, other.deleted) == (event.kv.modified, &event.kv.key, event.deleted)
        };
        if event.kv.modified < self.first {
            "an event from before the watch's start"
        } else if self.expected[..self.next].iter().any(|expected| same(expected)) {
            "an event came again, or out of order"
        } else if !self.watch.wants(event) {
            "an event that was not asked for"
        } else {
            "an event of something that never happened"
        }
    }

    /// Says that everything up to its revision has come.
    fn progress(&mut self, findings: &mut Findings<'_>, response: &WatchResponse) {
        let revision = response.revision;
        if let Some(due) = self.expected.get(self.next).filter(|event| event.kv.modified <= revision) {
            complain(findings, self.watch, revision, format!("progress to {revision} ahead of {}", show(due)));
        }
        let last = self.next.checked_sub(1).map_or(0, |last| self.expected[last].kv.modified);
        if revision < last {
            complain(findings, self.watch, revision, format!("progress to {revision} after events of {last}"));
        }
        if revision < self.told {
            let what = format!("progress to {revision} after progress to {}", self.told);
            complain(findings, self.watch, revision, what);
        }
        self.told = self.told.max(revision);
        if self.watch.start > revision {
            let what = format!("progress to {revision} before the watch begins at {}", self.watch.start);
            complain(findings, self.watch, revision, what);
        }
        self.reached = self.reached.max(revision);
    }

    /// Ended because what it wanted next is gone.
    fn compacted(&mut self, findings: &mut Findings<'_>, response: &WatchResponse) {
        let (compacted, wants) = (response.compact_revision, self.reached + 1);
        if wants >= compacted {
            let what = format!("cancelled as compacted at {compacted}, where it wanted {wants} next");
            complain(findings, self.watch, compacted, what);
        }
        if !self.may_be_compacted(response.received, compacted) {
            let what = format!("cancelled as compacted at {compacted}, where nobody had asked for that");
            complain(findings, self.watch, compacted, what);
        }
    }

    /// Whether a compaction at a revision or a later one may have been there at a moment.
    fn may_be_compacted(&self, moment: u64, at: i64) -> bool {
        let operations = &self.timeline.history.operations;
        self.timeline.compactions.iter().any(|(to, by)| *to >= at && operations[*by].invoked <= moment)
    }
}
