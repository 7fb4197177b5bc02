//! What is logged, and how often.

use super::harness::{Maker, until};
use super::kept::Lines;
use crate::peer::Transport;

#[tokio::test]
async fn a_refusal_is_logged_once_on_each_side_however_often_it_is_repeated() {
    let (lines, _guard) = Lines::keep();
    let count = |text| lines.with(text).len();
    let one = Maker::new(1).start();
    let other = Maker::new(2).start();
    one.echo.unwanted.lock().push(2);
    other.transport.set_peers(vec![one.peer()]);
    until("it was refused often", || one.echo.judged() >= 8).await;
    assert_eq!(count("rejected connection on peer endpoint"), 1);
    assert_eq!(count("member 2 (m2) is refused: member 2 was removed: wipe it"), 1);
    assert_eq!(count("it refuses this member: member 2 was removed: wipe it"), 1);
    // Another reason is news, and so is the old one after all was well.
    one.echo.unwanted.lock().clear();
    until("it is let in", || other.transport.connected_for(1).is_some()).await;
    assert_eq!(count("connected to peer"), 1);
    one.echo.unwanted.lock().push(2);
    one.transport.set_peers(vec![other.peer()]);
    one.transport.set_peers(vec![]);
    until("it is refused again", || count("it refuses this member: member 2 was removed") == 2).await;
    assert_eq!(count("is refused: member 2 was removed"), 2);
}
