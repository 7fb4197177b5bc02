//! etcd's feature gates: which there are, and which are on.

use std::collections::BTreeMap;

use super::number;

/// How settled a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off unless asked for.
    Alpha,
    /// On unless refused.
    Beta,
}

impl Stage {
    /// The word that metrics and `--help` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
        }
    }
}

/// One feature gate.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Its name in `--feature-gates`.
    pub name: &'static str,
    /// How settled it is.
    pub stage: Stage,
    /// Is it on when nobody says anything?
    pub default: bool,
    /// Does turning it on or off change anything here?
    pub used: bool,
}

const fn gate(name: &'static str, stage: Stage, default: bool, used: bool) -> Gate {
    Gate { name, stage, default, used }
}

/// All gates of etcd 3.7, by name.
pub(super) const GATES: &[Gate] = &[
    gate("CompactHashCheck", Stage::Alpha, false, true),
    gate("FastLeaseKeepAlive", Stage::Beta, true, false),
    gate("InitialCorruptCheck", Stage::Alpha, false, true),
    gate("LeaseCheckpoint", Stage::Alpha, false, true),
    gate("LeaseCheckpointPersist", Stage::Alpha, false, true),
    gate("PriorityRequest", Stage::Alpha, false, false),
    gate("SetMemberLocalAddr", Stage::Alpha, false, false),
    gate("StopGRPCServiceOnDefrag", Stage::Alpha, false, false),
    gate("TxnModeWriteWithSharedBuffer", Stage::Beta, true, false),
];

/// Switches for all gates of a stage.
const GROUPS: &[(&str, Stage)] = &[("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

/// Which gates are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    enabled: BTreeMap<&'static str, bool>,
}

impl Default for FeatureGates {
    fn default() -> Self {
        Self { enabled: GATES.iter().map(|g| (g.name, g.default)).collect() }
    }
}

impl FeatureGates {
    /// Reads `Gate=true,Other=false`. A gate named by itself wins over its group, wherever it stands.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut named = BTreeMap::new();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("missing bool value for {}", part.trim()));
            };
            let (name, value) = (name.trim(), value.trim());
            let on = number::parse_bool(value).ok_or_else(|| {
                format!("invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax")
            })?;
            named.insert(name, on);
        }
        let mut gates = Self::default();
        for (group, stage) in GROUPS {
            if let Some(on) = named.remove(group) {
                for gate in GATES.iter().filter(|g| g.stage == *stage) {
                    gates.enabled.insert(gate.name, on);
                }
            }
        }
        for (name, on) in named {
            let gate =
                GATES.iter().find(|g| g.name == name).ok_or_else(|| format!("unrecognized feature gate: {name}"))?;
            gates.enabled.insert(gate.name, on);
        }
        Ok(gates)
    }

    /// Is this gate on?
    pub fn is_on(&self, name: &str) -> bool {
        self.enabled.get(name).copied().unwrap_or_default()
    }

    /// Each gate, its stage and whether it is on: what the gauge `etcd_server_feature_enabled` shows.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Stage, bool)> + '_ {
        GATES.iter().map(|g| (g.name, g.stage, self.is_on(g.name)))
    }

    /// Gates that were moved from their default although nothing hangs on them here.
    pub fn moved_in_vain(&self) -> impl Iterator<Item = &'static str> + '_ {
        GATES.iter().filter(|g| !g.used && self.is_on(g.name) != g.default).map(|g| g.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_gate_wins_over_its_group() {
        let gates = FeatureGates::parse("LeaseCheckpoint=false,AllAlpha=true, AllBeta = 0").unwrap();
        assert!(!gates.is_on("LeaseCheckpoint"));
        assert!(gates.is_on("PriorityRequest"));
        assert!(!gates.is_on("FastLeaseKeepAlive"));
        assert_eq!(gates.all().count(), 9);
    }

    #[test]
    fn refuses_in_etcds_words() {
        assert_eq!(FeatureGates::parse("AllAlpha"), Err("missing bool value for AllAlpha".into()));
        assert_eq!(FeatureGates::parse("Foo=true"), Err("unrecognized feature gate: Foo".into()));
        assert_eq!(
            FeatureGates::parse("AllAlpha=x"),
            Err("invalid value of AllAlpha=x, err: strconv.ParseBool: parsing \"x\": invalid syntax".into())
        );
    }

    #[test]
    fn says_which_gates_change_nothing() {
        let gates = FeatureGates::parse("PriorityRequest=true,LeaseCheckpoint=true,FastLeaseKeepAlive=true").unwrap();
        assert_eq!(gates.moved_in_vain().collect::<Vec<_>>(), ["PriorityRequest"]);
    }
}
