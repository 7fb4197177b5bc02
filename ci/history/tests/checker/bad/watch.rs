use keelkv_history::{History, Invariant, Span, Watch, WatchResponse};

use crate::world::{World, breaks, swap};

const WATCH: Invariant = Invariant::Watch;

/// Four revisions, all of them watched: a put, one of two puts, a deletion, a put.
fn watched() -> History {
    let mut world = World::new();
    let watch = world.watch_all(1);
    world.put("a", "1");
    world.call(1, swap("a", "1", "2", "b"));
    world.delete("a");
    world.put("c", "3");
    world.deliver(watch);
    world.history.watches[watch].complete_through = 5;
    world.finish()
}

fn responses(history: &mut History) -> &mut Vec<WatchResponse> {
    &mut history.watches[0].responses
}

#[test]
fn issue_15220_progress_ahead_of_what_was_delivered() {
    let mut history = watched();
    let late = responses(&mut history).pop().unwrap();
    responses(&mut history).push(WatchResponse { events: vec![], ..late.clone() });
    responses(&mut history).push(late);
    breaks(&history, WATCH, "progress to 5 ahead of");
}

#[test]
fn issue_15271_a_watch_goes_back_in_time_after_a_snapshot() {
    let mut history = watched();
    let old = responses(&mut history)[2].clone();
    responses(&mut history).push(old);
    breaks(&history, WATCH, "came again, or out of order");
}

#[test]
fn issue_17247_an_event_of_a_transaction_comes_twice() {
    let mut history = watched();
    let event = responses(&mut history)[2].events[0].clone();
    responses(&mut history)[2].events.insert(0, event);
    breaks(&history, WATCH, "came again, or out of order");
}

#[test]
fn issue_17529_events_are_lost_when_a_stream_starves() {
    let mut history = watched();
    responses(&mut history).drain(2..4);
    breaks(&history, WATCH, "3 events were left out");
}

#[test]
fn issue_18089_an_event_is_dropped_when_its_deletion_is_compacted() {
    let mut world = World::new();
    world.put("a", "1");
    world.delete("a");
    world.compact(3);
    world.put("b", "2");
    let watch = world.watch_all(3);
    world.deliver(watch);
    let mut history = world.finish();
    history.watches[watch].responses.remove(1);
    breaks(&history, WATCH, "1 events were left out before put b");
}

#[test]
fn issue_19179_a_watch_at_the_compaction_lacks_the_deletion() {
    let mut world = World::new();
    world.put("a", "1");
    world.delete("a");
    world.compact(3);
    let watch = world.watch_all(3);
    world.progress(watch);
    breaks(&world.finish(), WATCH, "progress to 3 ahead of deletion of a@3");
}

#[test]
fn issue_19179_a_watch_at_the_compaction_is_cancelled() {
    let mut world = World::new();
    world.put("a", "1");
    world.delete("a");
    world.compact(3);
    let watch = world.watch_all(3);
    world.cancel(watch, 3);
    breaks(&world.finish(), WATCH, "where it wanted 3 next");
}

#[test]
fn issue_20221_a_watch_of_the_future_is_told_of_progress() {
    let mut world = World::new();
    world.put("a", "1");
    let watch = world.watch_all(9);
    world.progress(watch);
    breaks(&world.finish(), WATCH, "progress to 2 before the watch begins at 9");
}

#[test]
fn issue_20221_a_watch_of_the_future_gets_old_events() {
    let mut world = World::new();
    let watch = world.watch_all(4);
    world.put("a", "1");
    world.put("a", "2");
    world.put("a", "3");
    world.deliver(watch);
    let mut history = world.finish();
    history.watches[watch].start = 5;
    breaks(&history, WATCH, "from before the watch's start");
}

#[test]
fn the_last_event_never_comes() {
    let mut history = watched();
    responses(&mut history).pop();
    breaks(&history, WATCH, "never came");
}

#[test]
fn a_revision_is_divided() {
    let mut history = watched();
    let rest = responses(&mut history)[2].events.split_off(1);
    let rest = WatchResponse { events: rest, ..responses(&mut history)[2].clone() };
    responses(&mut history).insert(3, rest);
    breaks(&history, WATCH, "revision 3 was divided");
}

#[test]
fn a_fragment_that_was_not_asked_for() {
    let mut history = watched();
    responses(&mut history)[2].fragment = true;
    breaks(&history, WATCH, "a fragment");
}

#[test]
fn events_change_places() {
    let mut history = watched();
    responses(&mut history).swap(2, 3);
    breaks(&history, WATCH, "left out");
}

#[test]
fn an_event_with_another_value() {
    let mut history = watched();
    responses(&mut history)[1].events[0].kv.value = "9".into();
    breaks(&history, WATCH, "an event is");
}

#[test]
fn a_wrong_previous_value() {
    let mut history = watched();
    responses(&mut history)[3].events[0].prev.as_mut().unwrap().value = "1".into();
    breaks(&history, WATCH, "an event says");
}

#[test]
fn a_previous_value_is_left_out() {
    let mut history = watched();
    responses(&mut history)[3].events[0].prev = None;
    breaks(&history, WATCH, "an event says");
}

#[test]
fn a_previous_value_that_was_not_asked_for() {
    let mut history = watched();
    history.watches[0].prev_kv = false;
    breaks(&history, WATCH, "an event says");
}

#[test]
fn a_filter_lets_a_deletion_through() {
    let mut history = watched();
    history.watches[0].no_delete = true;
    breaks(&history, WATCH, "was not asked for");
}

#[test]
fn a_key_outside_of_the_range() {
    let mut history = watched();
    history.watches[0].span = Span::between("a", "c");
    breaks(&history, WATCH, "was not asked for");
}

#[test]
fn an_event_after_the_watch_was_cancelled() {
    let mut history = watched();
    let canceled = WatchResponse { canceled: true, revision: 4, ..Default::default() };
    responses(&mut history).insert(4, canceled);
    breaks(&history, WATCH, "after the watch was cancelled");
}

#[test]
fn a_watch_is_cancelled_for_a_compaction_that_nobody_asked_for() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let watch = world.watch(Watch { span: Span::all(), start: 1, ..Default::default() });
    world.cancel(watch, 3);
    breaks(&world.finish(), WATCH, "nobody had asked for that");
}

#[test]
fn a_watch_is_cancelled_for_no_reason() {
    for at in [0, 4] {
        let mut history = watched();
        let canceled = WatchResponse { canceled: true, created: at == 0, revision: 4, ..Default::default() };
        responses(&mut history).truncate(at);
        responses(&mut history).push(canceled);
        breaks(&history, WATCH, "for no reason");
    }
}

#[test]
fn progress_goes_back() {
    let mut world = World::new();
    let watch = world.watch_all(0);
    for key in ["a", "b", "c"] {
        world.put(key, key);
    }
    world.deliver(watch);
    world.put("d", "d");
    let puts = world.watch(Watch { span: Span::key("a"), ..Default::default() });
    world.progress(puts);
    world.progress(puts);
    let mut history = world.finish();
    history.watches[puts].responses[2].revision -= 1;
    breaks(&history, WATCH, "progress to 4 after progress to 5");
}

#[test]
fn events_before_the_watch_was_made() {
    let mut history = watched();
    responses(&mut history).swap(0, 1);
    breaks(&history, WATCH, "before the watch was made");
}

#[test]
fn a_watch_misses_what_came_between_its_making_and_its_first_event() {
    let mut world = World::new();
    world.put("a", "1");
    let watch = world.watch_all(0);
    world.put("a", "2");
    world.put("a", "3");
    world.deliver(watch);
    let mut history = world.finish();
    history.watches[watch].responses.remove(1);
    breaks(&history, WATCH, "left out before put a=3");
}
