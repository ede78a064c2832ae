//! How much memory this process may use.

use std::fs;
use std::path::Path;

use procfs::process::Process;
use procfs::{Current, Meminfo, ProcResult};

/// Where control groups are (version 2).
const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes: the machine's memory, or what the control groups of this process leave of it.
pub(super) fn total_bytes() -> ProcResult<u64> {
    let machine = Meminfo::current()?.mem_total;
    let groups = Process::myself()?.cgroups()?;
    // Version 2 has one hierarchy, number 0.
    let own = groups.0.iter().find(|group| group.hierarchy == 0);
    let limit = own.and_then(|group| least_limit(Path::new(CGROUPS), &group.pathname));
    Ok(limit.map_or(machine, |limit| limit.min(machine)))
}

/// The least `memory.max` from the control group at `pathname` up to `root`; each holds for all
/// below it.
fn least_limit(root: &Path, pathname: &str) -> Option<u64> {
    let groups = Path::new(pathname.trim_start_matches('/')).ancestors();
    // A group without a limit says "max".
    let limit = |group| fs::read_to_string(root.join(group).join("memory.max")).ok()?.trim().parse().ok();
    groups.filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        assert!(total_bytes().unwrap() > 1 << 20);
    }

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let limit = |group: &str, text: &str| {
            let dir = root.path().join(group);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("memory.max"), text).unwrap();
        };
        let least = |pathname| least_limit(root.path(), pathname);
        assert_eq!(least("/"), None);
        limit("kubepods/pod", "max\n");
        assert_eq!(least("/kubepods/pod"), None);
        limit("kubepods", "4096\n");
        assert_eq!(least("/kubepods/pod"), Some(4096));
        limit("kubepods/pod/container", "8192\n");
        assert_eq!(least("/kubepods/pod/container"), Some(4096));
        // In a control group namespace of its own a process sees itself at the top.
        limit("", "512\n");
        assert_eq!((least("/"), least("/elsewhere")), (Some(512), Some(512)));
    }
}
