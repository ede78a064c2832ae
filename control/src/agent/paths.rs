//! Where an instance keeps things.
//!
//! ```text
//! /run/podgate/<name>/lock          held by the running gateway
//! /run/podgate/<name>/api.sock      the local socket, root only
//! /run/podgate/<name>/trunk.netns   the trunk's gateway side lives in this namespace
//! /sys/fs/bpf/podgate/<name>/       pins; under /run/podgate/bpf where there is no bpffs
//! ```

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Where instances keep their files, unless told otherwise.
pub const RUN_DIR: &str = "/run/podgate";
const SYSTEM_BPFFS: &str = "/sys/fs/bpf";

/// A name that no instance can have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("--name {name:?}: use 1 to {MAX_NAME} letters, digits, '-' and '_'; 'bpf' and 'labs' are taken")]
pub struct NameError {
    /// The name given.
    pub name: String,
}

/// Longest name of an instance: a lab's may be as long.
const MAX_NAME: usize = 40;

/// That `name` can be an instance's: it is a directory's name, next to those that all share, and
/// the directory is removed with all in it when the instance is detached.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let good = (1..=MAX_NAME).contains(&name.len()) && name.chars().all(fits);
    if good && name != "bpf" && name != "labs" { Ok(()) } else { Err(NameError { name: name.into() }) }
}

/// An instance's files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    name: String,
    run_dir: PathBuf,
}

impl Paths {
    /// Of the instance `name`. Nothing is made.
    pub fn new(run_dir: &Path, name: &str) -> Self {
        Self { name: name.into(), run_dir: run_dir.into() }
    }

    /// The instance's directory.
    pub fn dir(&self) -> PathBuf {
        self.run_dir.join(&self.name)
    }

    /// The local socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("api.sock")
    }

    /// Locked by the gateway that runs.
    pub fn lock(&self) -> PathBuf {
        self.dir().join("lock")
    }

    /// The trunk's private network namespace.
    pub fn trunk_netns(&self) -> PathBuf {
        self.dir().join("trunk.netns")
    }

    /// Our own bpffs, where the box has none.
    fn own_bpffs(&self) -> PathBuf {
        self.run_dir.join("bpf")
    }

    /// Where pins can be, most usual first. Only existing bpf file systems.
    pub fn pins(&self) -> impl Iterator<Item = PathBuf> {
        let system = PathBuf::from(SYSTEM_BPFFS);
        let system = is_bpffs(&system).then(|| system.join("podgate").join(&self.name));
        let own = is_bpffs(&self.own_bpffs()).then(|| self.own_bpffs().join(&self.name));
        system.into_iter().chain(own)
    }

    /// Where to pin. Mounts a bpffs under the run directory if the box has none.
    pub fn ensure_pins(&self) -> io::Result<PathBuf> {
        // What was pinned before stays where it is, even if a bpffs has been mounted since.
        if let Some(used) = self.pins().find(|pins| pins.is_dir()).or_else(|| self.pins().next()) {
            return Ok(used);
        }
        let own = self.own_bpffs();
        std::fs::create_dir_all(&own)?;
        mount(Some("bpf"), &own, Some("bpf"), MsFlags::empty(), None::<&str>)?;
        Ok(own.join(&self.name))
    }

    /// Removes what is left of the instance's directory, and what all instances shared if this was
    /// the last one.
    pub fn remove(&self) -> io::Result<()> {
        ignore_missing(std::fs::remove_dir_all(self.dir()))?;
        remove_if_empty(&Path::new(SYSTEM_BPFFS).join("podgate"))?;
        let own = self.own_bpffs();
        // The kernel puts files of its own there (progs.debug); instances are directories.
        let in_use = |entry: io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| entry.path().is_dir());
        if is_bpffs(&own) && !std::fs::read_dir(&own)?.any(in_use) {
            umount2(&own, MntFlags::MNT_DETACH)?;
        }
        if !is_bpffs(&own) {
            remove_if_empty(&own)?;
        }
        remove_if_empty(&self.run_dir)
    }
}

/// Instances that have left anything, by name.
pub fn list_instances(run_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run_dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().join("lock").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_if_empty(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => ignore_missing(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for good in ["default", "lab", "A-b_9", &"n".repeat(40)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../labs", "labs", "bpf", "a/b", "a b", "ü", &"n".repeat(41)] {
            let error = check_name(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("--name"), "{error}");
        }
    }
}
