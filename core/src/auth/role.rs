//! What a role permits, as intervals of keys.

use keelkv_proto::authpb;
use keelkv_proto::authpb::permission::Type;

use super::needs::Access;

/// A role as it is stored, and what comes of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Role {
    pub(super) record: authpb::Role,
    read: Vec<Interval>,
    write: Vec<Interval>,
}

/// Keys from `begin` up to, and without, `end`; to the last key there can be for `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    begin: Vec<u8>,
    end: Option<Vec<u8>>,
}

/// The range end that stands for the end of all keys.
const OPEN_END: &[u8] = b"\0";

impl Role {
    pub(super) fn new(record: authpb::Role) -> Self {
        let of_kinds = |kinds: [Type; 2]| {
            let granted = record
                .key_permission
                .iter()
                .filter(|granted| kinds.iter().any(|kind| granted.perm_type == *kind as i32));
            merged(granted.map(|granted| interval(&granted.key, &granted.range_end)).collect())
        };
        let (read, write) = (of_kinds([Type::Read, Type::Readwrite]), of_kinds([Type::Write, Type::Readwrite]));
        Self { record, read, write }
    }

    fn intervals(&self, access: Access) -> &[Interval] {
        match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
        }
    }

    /// The interval that `key` lies in.
    fn around(&self, access: Access, key: &[u8]) -> Option<&Interval> {
        let intervals = self.intervals(access);
        let before = intervals.partition_point(|interval| &interval.begin[..] <= key);
        let interval = intervals.get(before.checked_sub(1)?)?;
        interval.end.as_deref().is_none_or(|end| key < end).then_some(interval)
    }
}

/// Whether roles together permit a range of keys, each of them a part. The range as in a request.
pub(super) fn cover<'a>(
    roles: impl Iterator<Item = &'a Role> + Clone,
    access: Access,
    key: &[u8],
    range_end: &[u8],
) -> bool {
    if range_end.is_empty() {
        return roles.into_iter().any(|role| role.around(access, key).is_some());
    }
    let wanted = (range_end != OPEN_END).then_some(range_end);
    let mut from = key;
    loop {
        let around = roles.clone().filter_map(|role| role.around(access, from));
        // The one that goes farthest; `None` is the end of all keys.
        let ends = around.map(|interval| interval.end.as_deref());
        let Some(end) = ends.max_by(|a, b| farther(*a, *b)) else { return false };
        match (end, wanted) {
            (None, _) => return true,
            (Some(end), Some(wanted)) if end >= wanted => return true,
            (Some(end), _) => from = end,
        }
    }
}

/// Whether a range of keys can be granted.
pub(super) fn is_valid(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (range_end.is_empty() || range_end == OPEN_END || key < range_end)
}

fn interval(key: &[u8], range_end: &[u8]) -> Interval {
    let end = match range_end {
        [] => Some([key, &[0]].concat()),
        OPEN_END => None,
        end => Some(end.to_vec()),
    };
    Interval { begin: key.to_vec(), end }
}

/// In order, without overlaps, as few as can be.
fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_by(|a, b| a.begin.cmp(&b.begin));
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for next in intervals {
        match merged.last_mut() {
            Some(last) if last.end.as_ref().is_none_or(|end| next.begin <= *end) => {
                if farther(next.end.as_deref(), last.end.as_deref()).is_gt() {
                    last.end = next.end;
                }
            }
            _ => merged.push(next),
        }
    }
    merged
}

/// Compares ends, of which `None` is the farthest.
fn farther(a: Option<&[u8]>, b: Option<&[u8]>) -> std::cmp::Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn role(granted: &[(&str, &str)]) -> Role {
        let key_permission = granted.iter().map(|(key, end)| authpb::Permission {
            perm_type: Type::Read as i32,
            key: key.as_bytes().to_vec().into(),
            range_end: end.as_bytes().to_vec().into(),
        });
        Role::new(authpb::Role { key_permission: key_permission.collect(), ..authpb::Role::default() })
    }

    fn permit(roles: &[Role], key: &str, end: &str) -> bool {
        cover(roles.iter(), Access::Read, key.as_bytes(), end.as_bytes())
    }

    #[test]
    fn parts_of_several_roles_make_up_a_range() {
        let roles = [role(&[("a", "c"), ("m", "")]), role(&[("c", "e"), ("x", "\0")])];
        assert!(permit(&roles, "a", "e"));
        assert!(permit(&roles[..1], "a", "c"));
        assert!(!permit(&roles[..1], "a", "d"));
        assert!(!permit(&roles, "a", "f"));
        assert!(permit(&roles, "m", ""));
        assert!(permit(&roles, "m", "m\0"));
        assert!(!permit(&roles, "m", "n"));
        assert!(permit(&roles, "x", "\0"));
        assert!(permit(&roles, "xyz", "zzz"));
        assert!(!permit(&roles, "e", ""));
        assert!(!permit(&roles, "a", "\0"));
    }

    #[test]
    fn one_key_is_not_what_follows_it() {
        // Everything from a key on is more than the key.
        let roles = [role(&[("k", "")])];
        assert!(permit(&roles, "k", ""));
        assert!(!permit(&roles, "k", "\0"));
        assert!(!permit(&roles, "k", "l"));
        assert!(!permit(&roles, "\0", "\0"));
        assert!(!permit(&[role(&[("\0", "")])], "\0", "\0"));
        assert!(permit(&[role(&[("\0", "\0")])], "\0", "\0"));
    }

    #[test]
    fn only_what_is_granted_counts() {
        let read = role(&[("a", "z")]);
        assert!(!cover([&read].into_iter(), Access::Write, b"b", b""));
        let both = authpb::Permission { perm_type: Type::Readwrite as i32, key: "b".into(), range_end: "".into() };
        let both = Role::new(authpb::Role { key_permission: vec![both], ..authpb::Role::default() });
        for access in [Access::Read, Access::Write] {
            assert!(cover([&both].into_iter(), access, b"b", b""));
        }
    }

    #[test]
    fn grants_are_of_keys_in_order() {
        assert!(is_valid(b"a", b"") && is_valid(b"a", b"b") && is_valid(b"a", b"\0"));
        assert!(!is_valid(b"", b"") && !is_valid(b"", b"b") && !is_valid(b"b", b"a") && !is_valid(b"a", b"a"));
    }

    proptest! {
        /// Keys are single letters, so that all of them can be tried.
        #[test]
        fn a_range_is_covered_when_each_of_its_keys_is(
            granted in prop::collection::vec(prop::collection::vec((0u8..6, 0u8..8), 0..4), 1..3),
            from in 0u8..6, length in 1u8..7,
        ) {
            let text = |n: u8| char::from(b'a' + n).to_string();
            let roles: Vec<Role> = granted.iter().map(|list| {
                let list: Vec<(String, String)> = list.iter().filter(|(begin, end)| begin < end).map(|(b, e)| (text(*b), text(*e))).collect();
                role(&list.iter().map(|(b, e)| (&b[..], &e[..])).collect::<Vec<_>>())
            }).collect();
            let held = |n: u8| granted.iter().flatten().any(|(begin, end)| (*begin..*end).contains(&n));
            let all = (from..from + length).all(held);
            prop_assert_eq!(permit(&roles, &text(from), &text(from + length)), all);
        }
    }
}
