//! What is logged, and how often.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::harness::{Maker, until};
use crate::peer::Transport;

/// Keeps the lines of one thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }
}

impl Lines {
    fn with(&self, text: &str) -> usize {
        self.0.lock().iter().filter(|line| line.contains(text)).count()
    }
}

#[tokio::test]
async fn a_refusal_is_logged_once_on_each_side_however_often_it_is_repeated() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let one = Maker::new(1).start();
    let other = Maker::new(2).start();
    one.echo.unwanted.lock().push(2);
    other.transport.set_peers(vec![one.peer()]);
    until("it was refused often", || one.echo.judged() >= 8).await;
    assert_eq!(lines.with("rejected connection on peer endpoint"), 1);
    assert_eq!(lines.with("member 2 (m2) is refused: member 2 was removed: wipe it"), 1);
    assert_eq!(lines.with("it refuses this member: member 2 was removed: wipe it"), 1);
    // Another reason is news, and so is the old one after all was well.
    one.echo.unwanted.lock().clear();
    until("it is let in", || other.transport.connected_for(1).is_some()).await;
    assert_eq!(lines.with("connected to peer"), 1);
    one.echo.unwanted.lock().push(2);
    one.transport.set_peers(vec![other.peer()]);
    one.transport.set_peers(vec![]);
    until("it is refused again", || lines.with("it refuses this member: member 2 was removed") == 2).await;
    assert_eq!(lines.with("is refused: member 2 was removed"), 2);
}
