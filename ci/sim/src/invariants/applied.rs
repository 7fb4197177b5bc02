//! Nothing is applied that is not agreed on, and a member that runs does not go back.

use std::collections::BTreeMap;

use keelkv_core::node::Status;

/// How far each member was in its life.
#[derive(Default)]
pub(crate) struct Applied(BTreeMap<usize, (u64, u64, i64)>);

impl Applied {
    /// A member says how far it is, in its so-manieth life.
    pub(crate) fn says(&mut self, host: usize, life: u64, status: &Status, revision: i64) -> Result<(), String> {
        if status.applied_index > status.committed_index {
            return Err(format!(
                "m{host} has applied entry {} where {} are agreed on",
                status.applied_index, status.committed_index
            ));
        }
        let known = self.0.entry(host).or_insert((life, status.applied_index, revision));
        if known.0 == life && (status.applied_index < known.1 || revision < known.2) {
            return Err(format!(
                "m{host} went back from entry {}, revision {} to entry {}, revision {revision} while it ran",
                known.1, known.2, status.applied_index
            ));
        }
        *known = (life, status.applied_index, revision);
        Ok(())
    }
}
