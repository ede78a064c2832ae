//! Where an instance keeps things.
//!
//! ```text
//! /run/podgate/<name>/lock          held by the running gateway
//! /run/podgate/<name>/home          which bridge it guards
//! /run/podgate/<name>/api.sock      the local socket, root only
//! /run/podgate/<name>/flows.bin     flows on their way over a restart
//! /run/podgate/<name>/service.key   keys the choice of backends
//! /run/podgate/<name>/attachments.json  what runtimes have told of pods
//! /run/podgate/<name>/pods          which pod was behind which port
//! /run/podgate/<name>/fence         the name of its nft table, while there is one
//! /run/podgate/<name>/trunk.netns   the trunk's gateway side lives in this namespace
//! /sys/fs/bpf/podgate/<name>/       pins; under /run/podgate/bpf where there is no bpffs
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::bpffs::{ensure_private_dir, is_bpffs, mount_own, outlives_us, unmount};

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

/// Why there is no place for pins.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// A directory could not be made or used.
    #[error("cannot pin in {}: {source}", .path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pins would go with this process.
    #[error(
        "the bpf file system at {} is in a mount namespace of this process alone: should the gateway die, its \
         pins and the guard would be gone with it, and the wire open. Mount one for all first (on the host: \
         mount -t bpf bpf /sys/fs/bpf; in a container: the host's /sys/fs/bpf), and enter network namespaces \
         with 'nsenter --net=/run/netns/NAME' rather than 'ip netns exec', which hides it",
        .path.display()
    )]
    Fleeting {
        /// Where it is mounted.
        path: PathBuf,
    },
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

    /// Where instances keep their files, this one among them.
    pub(super) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Says which bridge it guards.
    pub(super) fn home(&self) -> PathBuf {
        self.dir().join("home")
    }

    /// Which pod was behind which port.
    pub(super) fn bindings(&self) -> PathBuf {
        self.dir().join("pods")
    }

    /// Names the instance's nft table.
    pub(super) fn fence(&self) -> PathBuf {
        self.dir().join("fence")
    }

    /// Flows on their way over a restart.
    pub(super) fn flows(&self) -> PathBuf {
        self.dir().join("flows.bin")
    }

    /// The key of the hash by which connections get their backends.
    pub(super) fn service_key(&self) -> PathBuf {
        self.dir().join("service.key")
    }

    /// What runtimes have told of pods.
    pub(super) fn attachments(&self) -> PathBuf {
        self.dir().join("attachments.json")
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

    /// Whether anything is pinned: a gateway runs, or has left its guard.
    pub(super) fn has_pins(&self) -> bool {
        self.pins().any(|pins| pins.is_dir())
    }

    /// Makes the instance's directory, for root alone.
    pub(super) fn ensure_dir(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.run_dir)?;
        ensure_private_dir(&self.dir())
    }

    /// Makes the directory to pin in. Mounts a bpffs under the run directory if the box has none.
    pub fn ensure_pins(&self) -> Result<PathBuf, PinsError> {
        let pins = self.choose_pins()?;
        let files = |path: &Path| {
            let path = path.to_owned();
            move |source| PinsError::Files { path, source }
        };
        let shared = pins.parent().unwrap_or(&pins);
        // The root of our own was mounted for root alone.
        if *shared != self.own_bpffs() {
            ensure_private_dir(shared).map_err(files(shared))?;
        }
        ensure_private_dir(&pins).map_err(files(&pins))?;
        Ok(pins)
    }

    fn choose_pins(&self) -> Result<PathBuf, PinsError> {
        // What was pinned before stays where it is, even if a bpffs has been mounted since.
        let used = self.pins().find(|pins| pins.is_dir()).or_else(|| self.pins().next());
        let own = self.own_bpffs();
        let files = |source| PinsError::Files { path: own.clone(), source };
        let mounted = used.is_none();
        if mounted {
            std::fs::create_dir_all(&own).map_err(files)?;
            mount_own(&own).map_err(files)?;
        }
        let pins = used.unwrap_or_else(|| own.join(&self.name));
        let root = if pins.starts_with(&own) { &own } else { Path::new(SYSTEM_BPFFS) };
        match outlives_us(root) {
            Ok(true) => Ok(pins),
            Ok(false) => {
                if mounted {
                    unmount(&own).map_err(files)?;
                    let _ = remove_if_empty(&own);
                }
                Err(PinsError::Fleeting { path: root.into() })
            }
            Err(source) => Err(PinsError::Files { path: root.into(), source }),
        }
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
            unmount(&own)?;
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

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_if_empty(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir(dir) {
        // A mount point (ResourceBusy) was made by whoever mounted it, and is theirs to remove.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) =>
        {
            Ok(())
        }
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
