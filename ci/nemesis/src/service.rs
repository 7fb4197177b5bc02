//! What clients may expect of a cluster with which nothing is wrong: that it answers them.

use keelkv_history::{History, Operation, Outcome, Refusal};

use crate::account::Account;

/// Of all that was asked while nothing was wrong, so much may be left without an answer: the machine is busy.
const UNSERVED: f64 = 0.005;
/// Answers a second and client, where clients pause for some milliseconds after each.
const ANSWERS: f64 = 2.0;

/// Whether the store refused to serve, or did not answer. That there is no such revision or lease is an answer.
pub(crate) fn is_unserved(operation: &Operation) -> bool {
    matches!(&operation.outcome, Outcome::Unknown(_) | Outcome::Failed(Refusal::Other(_)))
}

/// Looks at all that was asked and answered while nothing was wrong with a cluster that `clients` asked without end.
pub(crate) fn look(history: &History, clients: u32) -> Account {
    let windows = &history.settings.healthy;
    let within =
        |one: &&Operation| windows.iter().any(|window| window.from <= one.invoked && one.returned <= window.to);
    let (mut answered, mut unserved) = (0_usize, Vec::new());
    for operation in history.operations.iter().filter(within) {
        if is_unserved(operation) {
            unserved.push(operation);
        } else {
            answered += 1;
        }
    }
    let seconds = windows.iter().map(|window| window.to - window.from).sum::<u64>() as f64 / 1e9;
    let mut account = Account::default();
    account
        .line(format!("while nothing was wrong, {seconds:.1} s: {answered} requests answered, {} not", unserved.len()));
    let most = 1.0 + UNSERVED * answered as f64;
    account.demand(unserved.len() as f64 <= most, || {
        format!(
            "{} requests were not served while nothing was wrong, {most:.0} are allowed; the first: {:?}",
            unserved.len(),
            unserved[0]
        )
    });
    let least = (ANSWERS * f64::from(clients) * seconds) as usize;
    account.demand(answered >= least, || {
        format!("{answered} requests were answered while nothing was wrong, at least {least} have to be")
    });
    account
}

#[cfg(test)]
mod tests {
    use keelkv_history::{Answer, Call, Header, Reply, Settings, Window};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A second of requests every ten milliseconds, each second one with an outcome of its own.
    fn history(outcome: &Outcome) -> History {
        let answer = Outcome::Ok(Answer { header: Header::default(), reply: Reply::Compact });
        let operation = |at: u64| Operation {
            client: 1,
            member: 0,
            invoked: at * SECOND / 100,
            returned: (at + 1) * SECOND / 100,
            call: Call::Compact { revision: 1 },
            outcome: if at.is_multiple_of(2) { answer.clone() } else { outcome.clone() },
        };
        let healthy = vec![Window { from: 0, to: SECOND }];
        let settings = Settings { healthy, ..Default::default() };
        History { settings, operations: (0..100).map(operation).collect(), ..Default::default() }
    }

    #[test]
    fn a_healthy_cluster_answers() {
        assert!(look(&history(&Outcome::Failed(Refusal::Compacted)), 10).violations.is_empty());
        for outcome in [Outcome::Unknown("no answer in time".into()), Outcome::Failed(Refusal::Other("no".into()))] {
            let found = look(&history(&outcome), 10).violations;
            assert!(found[0].starts_with("50 requests were not served"), "{found:?}");
        }
    }

    #[test]
    fn what_fails_with_a_cluster_that_is_broken_counts_for_nothing() {
        let mut history = history(&Outcome::Unknown("no answer in time".into()));
        history.settings.healthy = vec![Window { from: 2 * SECOND, to: 2 * SECOND + 1 }];
        assert!(look(&history, 10).violations.is_empty());
    }

    #[test]
    fn a_cluster_that_answers_nobody_is_not_well() {
        let mut history = history(&Outcome::Failed(Refusal::Compacted));
        history.operations.truncate(5);
        let found = look(&history, 10).violations;
        assert!(found[0].starts_with("5 requests were answered"), "{found:?}");
    }
}
