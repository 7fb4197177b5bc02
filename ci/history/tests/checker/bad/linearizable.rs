use keelkv_history::{Call, Invariant, Outcome, Put, RangeRead, Refusal, Reply, Span, Txn, TxnOp, Watch};

use crate::world::{MS, World, answer, breaks, delete, put, swap, value};

const LINEARIZABLE: Invariant = Invariant::Linearizable;

#[test]
fn issue_20418_a_paused_member_answers_a_read_from_before_the_leader_changed() {
    let mut world = World::new();
    world.put("a", "1");
    let read = world.get("a");
    world.put("a", "2");
    world.put("a", "3");
    let mut history = world.finish();
    let (invoked, returned) = (history.operations[3].returned + 1, history.operations[3].returned + 2);
    (history.operations[read].invoked, history.operations[read].returned) = (invoked, returned);
    breaks(&history, LINEARIZABLE, "a stale answer");
}

#[test]
fn a_read_of_a_value_that_nobody_wrote() {
    let mut world = World::new();
    world.put("a", "1");
    let read = world.get("a");
    let mut history = world.finish();
    *value(&mut history, read) = "9".into();
    breaks(&history, LINEARIZABLE, "expected");
}

#[test]
fn a_read_of_an_old_value_under_a_new_revision() {
    let mut world = World::new();
    world.put("a", "1");
    let read = world.get("a");
    world.put("a", "2");
    let mut history = world.finish();
    answer(&mut history, read).header.revision = 3;
    history.operations[read].returned = history.operations[2].returned;
    breaks(&history, LINEARIZABLE, "the answer at revision 3");
}

#[test]
fn a_refused_write_takes_effect() {
    let mut world = World::new();
    world.put("a", "1");
    let write = world.put("a", "2");
    let mut history = world.finish();
    history.operations[write].outcome = Outcome::Failed(Refusal::Other("etcdserver: too many requests".into()));
    breaks(&history, LINEARIZABLE, "was refused");
}

#[test]
fn a_retried_write_takes_effect_twice() {
    let mut world = World::new();
    let write = world.unknown(put("a", "1", 0), true);
    world.put("a", "2");
    world.land(write);
    breaks(&world.finish(), LINEARIZABLE, "took effect twice");
}

#[test]
fn an_acknowledged_write_takes_effect_again() {
    let mut world = World::new();
    let write = world.put("a", "1");
    world.put("a", "2");
    world.land(write);
    breaks(&world.finish(), LINEARIZABLE, "was answered with revision 2 took effect at revision 4");
}

#[test]
fn a_write_that_is_seen_before_it_was_asked_for() {
    let mut world = World::new();
    world.put("a", "1");
    let write = world.unknown(put("a", "2", 0), true);
    world.get("a");
    let mut history = world.finish();
    history.operations[write].invoked = u64::MAX - 1;
    history.operations[write].returned = u64::MAX;
    breaks(&history, LINEARIZABLE, "seen before it was asked for");
}

#[test]
fn a_transaction_takes_the_wrong_branch() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let lost = world.call(1, swap("a", "1", "3", "b"));
    let mut history = world.finish();
    match &mut answer(&mut history, lost).reply {
        Reply::Txn { succeeded, replies } => {
            *succeeded = true;
            *replies = vec![Reply::Put { prev: None }; 2];
        }
        other => panic!("{other:?}"),
    }
    answer(&mut history, lost).header.revision = 4;
    breaks(&history, LINEARIZABLE, "");
}

#[test]
fn half_a_transaction() {
    let mut world = World::new();
    world.put("a", "1");
    world.call(1, swap("a", "1", "2", "b"));
    let mut history = world.finish();
    history.full.iter_mut().for_each(|full| drop(full.revisions[1].events.pop()));
    breaks(&history, LINEARIZABLE, "but its request does");
}

#[test]
fn two_increments_of_one_value_both_win() {
    let mut world = World::new();
    world.put("a", "1");
    world.call(1, swap("a", "1", "2", "b"));
    let mut history = world.finish();
    let mut second = history.operations[1].clone();
    second.client = 2;
    second.call = swap("a", "1", "3", "b");
    if let Outcome::Ok(answer) = &mut second.outcome {
        answer.header.revision = 4;
    }
    history.operations.push(second);
    breaks(&history, LINEARIZABLE, "");
}

#[test]
fn a_deletion_counts_what_is_not_there() {
    let mut world = World::new();
    world.put("a", "1");
    world.delete("a");
    let again = world.delete("a");
    let mut history = world.finish();
    answer(&mut history, again).reply = Reply::Delete { deleted: 1, prev: vec![] };
    breaks(&history, LINEARIZABLE, "expected");
}

#[test]
fn a_key_comes_back_with_its_old_version() {
    let mut world = World::new();
    world.put("a", "1");
    world.delete("a");
    world.put("a", "2");
    let read = world.get("a");
    let mut history = world.finish();
    match &mut answer(&mut history, read).reply {
        Reply::Range { kvs, .. } => (kvs[0].version, kvs[0].created) = (2, 2),
        other => panic!("{other:?}"),
    }
    breaks(&history, LINEARIZABLE, "expected");
}

#[test]
fn a_write_after_an_answer_is_ordered_before_it() {
    let mut world = World::new();
    let first = world.put("a", "1");
    let second = world.put("b", "2");
    let mut history = world.finish();
    history.operations.swap(first, second);
    let [one, two] = &mut history.operations[..] else { panic!() };
    std::mem::swap(&mut one.invoked, &mut two.invoked);
    std::mem::swap(&mut one.returned, &mut two.returned);
    breaks(&history, LINEARIZABLE, "had been answered before it was asked");
}

#[test]
fn a_compacted_revision_is_still_read() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.compact(3);
    world.get_at("a", 2);
    breaks(&world.finish(), LINEARIZABLE, "was compacted");
}

#[test]
fn a_revision_is_refused_as_compacted_that_is_not() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.compact(2);
    let read = Call::Range(RangeRead { span: Span::key("a"), revision: 2, ..Default::default() });
    world.refused(read, Refusal::Compacted);
    breaks(&world.finish(), LINEARIZABLE, "refused as compacted");
}

/// Reads a revision in a transaction, in whichever branch, and within another transaction.
fn read_within(revision: i64) -> Call {
    let read = TxnOp::Range(RangeRead { span: Span::key("a"), revision, ..Default::default() });
    let inner = Txn { success: vec![read], ..Default::default() };
    Call::Txn(Txn { success: vec![TxnOp::Txn(inner)], ..Default::default() })
}

#[test]
fn a_transaction_reads_a_compacted_revision() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.compact(3);
    world.call(1, read_within(2));
    breaks(&world.finish(), LINEARIZABLE, "was compacted");
}

#[test]
fn a_transaction_is_refused_for_revisions_that_are_there() {
    for (refusal, words) in [(Refusal::Compacted, "refused as compacted"), (Refusal::Future, "refused as future")] {
        let mut world = World::new();
        world.put("a", "1");
        world.put("a", "2");
        world.refused(read_within(3), refusal);
        breaks(&world.finish(), LINEARIZABLE, words);
    }
}

/// A read that is answered as of before the last write, after something else had shown that write.
fn stale_after(show: impl FnOnce(&mut World)) {
    let mut world = World::new();
    world.put("a", "1");
    let read = world.get("a");
    let write = world.put("a", "2");
    show(&mut world);
    let now = world.now;
    let mut history = world.finish();
    // The write itself is answered only later, so that nothing else forbids the read.
    history.operations[write].returned = now + 10 * MS;
    history.operations[read].invoked = now;
    history.operations[read].returned = now + MS;
    breaks(&history, LINEARIZABLE, "a stale answer: it is at revision 2, but revision 3 had been");
}

#[test]
fn a_read_is_older_than_what_others_were_shown() {
    stale_after(|world| {
        world.peek("a");
    });
    stale_after(|world| {
        let watch = world.watch_all(1);
        world.deliver(watch);
    });
    stale_after(|world| {
        let watch = world.watch(Watch { span: Span::key("b"), start: 1, ..Default::default() });
        world.progress(watch);
    });
    stale_after(|world| {
        world.call(4, Call::TimeToLive { id: 7, keys: false });
    });
}

#[test]
fn a_deletion_that_nobody_asked_for() {
    let mut world = World::new();
    world.put("a", "1");
    let write = world.unknown(delete("a"), true);
    let mut history = world.finish();
    history.operations.remove(write);
    breaks(&history, LINEARIZABLE, "nothing that was asked for");
}

/// Reads the past, and sets a key.
fn look_back(revision: i64, value: &str) -> Call {
    let read = RangeRead { span: Span::key("a"), revision, ..Default::default() };
    let set = Put { key: "b".into(), value: value.into(), ..Default::default() };
    Call::Txn(Txn { success: vec![TxnOp::Range(read), TxnOp::Put(set)], ..Default::default() })
}

#[test]
fn issue_18667_a_transaction_reads_what_is_compacted() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.call(1, look_back(2, "before"));
    world.compact(3);
    world.call(1, look_back(2, "after"));
    breaks(&world.finish(), LINEARIZABLE, "revision 2 was answered after everything before 3 was compacted");
}

#[test]
fn a_transaction_is_refused_for_a_revision_that_is_there() {
    for refusal in [Refusal::Compacted, Refusal::Future] {
        let mut world = World::new();
        world.put("a", "1");
        world.put("a", "2");
        world.compact(2);
        world.refused(look_back(2, "never"), refusal);
        breaks(&world.finish(), LINEARIZABLE, "revision 2 was refused as");
    }
}
