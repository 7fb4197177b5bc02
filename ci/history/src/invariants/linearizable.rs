//! Keys and transactions behave as if done one after the other, each between its request and its answer.
//!
//! The order is that of the revisions, a write before the reads at its revision. It is right if every answer is
//! what the model answers there (`answers`), if it never contradicts time (`order`), and if what was refused for its
//! revision had to be (`refusals`).

mod answers;
mod order;
mod refusals;

use super::Findings;
pub(super) use answers::same;

pub(super) fn check(findings: &mut Findings<'_>) {
    answers::check(findings);
    order::check(findings);
    refusals::check(findings);
}
