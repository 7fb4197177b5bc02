//! How much memory this process may use.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// What the answers to reads get of it.
const SHARE: u64 = 8;
const READS_MIN: u64 = 64 << 20;
const READS_MAX: u64 = 1 << 30;

/// The memory for answers where nobody says how much: an eighth of what there is, within bounds.
pub(super) fn for_reads() -> usize {
    share(available(Path::new("/")))
}

fn share(available: Option<u64>) -> usize {
    // An unknown machine is taken for a small one.
    let bytes = available.map_or(READS_MIN, |bytes| (bytes / SHARE).clamp(READS_MIN, READS_MAX));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The least of what the machine has and what this process is limited to, below the root of a file system.
fn available(root: &Path) -> Option<u64> {
    let limits = [Resource::Data, Resource::As].map(|resource| getrlimit(resource).current);
    let files = [of_machine(root), of_groups(root)];
    limits.into_iter().chain(files).flatten().min()
}

fn of_machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = total.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The least limit of the control groups that this process is in, of either version.
fn of_groups(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let groups = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        match controllers {
            "" => Some((root.join("sys/fs/cgroup"), path, "memory.max")),
            one if one.split(',').any(|name| name == "memory") => {
                Some((root.join("sys/fs/cgroup/memory"), path, "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    // A group is bound by those above it as well. Within a container the path may be that of the host.
    groups.flat_map(|(mount, path, file)| limits(&mount, path, file)).min()
}

fn limits(mount: &Path, group: &str, file: &str) -> Vec<u64> {
    let group: PathBuf = mount.join(group);
    let above = group.ancestors().take_while(|directory| directory.starts_with(mount));
    above.filter_map(|directory| fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(of_machine(root), None);
        assert_eq!(of_groups(root), None);
        write(root, "proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n");
        assert_eq!(of_machine(root), Some(8_192_000_000));
        write(root, "proc/self/cgroup", "0::/system.slice/keelkv.service\n");
        assert_eq!(of_groups(root), None);
        write(root, "sys/fs/cgroup/system.slice/keelkv.service/memory.max", "max\n");
        write(root, "sys/fs/cgroup/system.slice/memory.max", "536870912\n");
        assert_eq!(of_groups(root), Some(512 << 20));
        write(root, "proc/self/cgroup", "5:cpu,memory:/one\n1:name=systemd:/two\n");
        write(root, "sys/fs/cgroup/memory/one/memory.limit_in_bytes", "1000\n");
        assert_eq!(available(root), Some(1000));
    }

    #[test]
    fn answers_get_an_eighth_within_bounds() {
        let shares = [None, Some(1), Some(512 << 20), Some(4 << 30), Some(64 << 30)].map(share);
        assert_eq!(shares, [64 << 20, 64 << 20, 64 << 20, 512 << 20, 1 << 30]);
    }
}
