//! The lab's directory: the plan, and the processes started.
//!
//! Written before anything is made and after every process is started, each time as a whole, so
//! that whoever comes next (after a kill, too) knows all there may be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::plan::{Plan, check_lab_name};
use super::{LabError, LabHost, Process};

/// Where labs are recorded unless told otherwise.
pub const DEFAULT_DIRECTORY: &str = "/run/podgate/labs";

const FILE: &str = "state.json";

/// How long to wait for the right to change a lab. If whoever held it was killed while it started a
/// program, the child holds it too, from the fork until it executes that program.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How long a change waits for another one.
const CHANGE_PATIENCE: Duration = Duration::from_mins(1);

/// What is known of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) plan: Plan,
    /// Programs in the node's namespace, by role.
    pub(super) processes: BTreeMap<String, Process>,
    /// How far into the lab's subnets addresses have been handed out.
    #[serde(default)]
    pub(super) handed_out: (u32, u64),
    /// What is being changed, or was when that was interrupted.
    #[serde(default)]
    pub(super) changing: Option<Changing>,
}

/// Pods that come and go in one change. It counts from the moment at which an overlay of its
/// revision, or a later one, is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changing {
    pub(super) revision: u64,
    pub(super) coming: Vec<LabHost>,
    pub(super) going: Vec<String>,
}

impl State {
    /// Of a lab that is about to be made.
    pub(super) fn building(plan: Plan) -> Self {
        // The node's and the hosts', and those in between that were given.
        let used =
            1 + plan.node_addresses.len() + plan.hosts.iter().map(|host| host.addresses.len()).sum::<usize>();
        let handed_out = (used as u32, used as u64);
        Self { phase: Phase::Building, plan, processes: BTreeMap::new(), handed_out, changing: None }
    }

    /// Every host there may be.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &LabHost> {
        self.plan.hosts.iter().chain(self.changing.iter().flat_map(|changing| &changing.coming))
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// Being brought up, or was when it was interrupted.
    Building,
    /// Up.
    Up,
}

/// A lab's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    lab: String,
    path: PathBuf,
}

/// The right to change a lab; ends when dropped, also by a kill.
pub(super) struct Lock {
    _directory: Flock<File>,
}

impl Directory {
    pub(super) fn new(labs: &Path, lab: &str) -> Result<Self, LabError> {
        check_lab_name(lab)?;
        Ok(Self { lab: lab.into(), path: labs.join(lab) })
    }

    /// The names of the labs recorded there.
    pub(super) fn list(labs: &Path) -> Result<Vec<String>, LabError> {
        let read = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(labs)? {
                names.extend(entry?.file_name().into_string());
            }
            names.sort();
            Ok(names)
        };
        match read() {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|source| LabError::Record {
                path: labs.into(),
                operation: "list the labs",
                source,
            }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn lab(&self) -> &str {
        &self.lab
    }

    /// Makes the directory; it must not be there.
    pub(super) fn create(&self) -> Result<Lock, LabError> {
        let make =
            |path: &Path, recursive| fs::DirBuilder::new().recursive(recursive).mode(0o755).create(path);
        let attempt = || {
            if let Some(labs) = self.path.parent() {
                make(labs, true).map_err(|source| self.error("create the directory of labs", source))?;
            }
            Ok::<_, LabError>(make(&self.path, false))
        };
        let made = match attempt()? {
            // The last lab went just now, and the directory of labs with it.
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => attempt()?,
            made => made,
        };
        match made {
            Ok(()) => self.lock()?.ok_or_else(|| LabError::NoSuchLab { lab: self.lab.clone() }),
            Err(there) if there.kind() == io::ErrorKind::AlreadyExists => Err(self.why_there()),
            Err(source) => Err(self.error("create it", source)),
        }
    }

    /// The right to change the lab; none if it is not there.
    pub(super) fn lock(&self) -> Result<Option<Lock>, LabError> {
        self.lock_within(LOCK_PATIENCE)
    }

    /// The same, for a change that may come while another is under way.
    pub(super) fn lock_for_change(&self) -> Result<Option<Lock>, LabError> {
        self.lock_within(CHANGE_PATIENCE)
    }

    fn lock_within(&self, patience: Duration) -> Result<Option<Lock>, LabError> {
        let directory = match File::open(&self.path) {
            Ok(directory) => directory,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.error("open it", source)),
        };
        let (mut directory, until) = (directory, Instant::now() + patience);
        loop {
            directory = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
                // Whoever held it may have removed the directory since it was opened here.
                Ok(lock) => return Ok(self.path.exists().then_some(Lock { _directory: lock })),
                Err((directory, nix::Error::EWOULDBLOCK)) if Instant::now() < until => directory,
                Err((_, nix::Error::EWOULDBLOCK)) => return Err(LabError::Busy { lab: self.lab.clone() }),
                Err((_, errno)) => return Err(self.error("lock it", errno.into())),
            };
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is recorded; none if the lab is not there, or was interrupted before it was begun.
    pub(super) fn read(&self) -> Result<Option<State>, LabError> {
        let path = self.path.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| LabError::BadRecord { path, source }),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LabError::Record { path, operation: "read it", source }),
        }
    }

    pub(super) fn write(&self, _lock: &Lock, state: &State) -> Result<(), LabError> {
        let (path, new) = (self.path.join(FILE), self.path.join("state.json.new"));
        let written = serde_json::to_vec_pretty(state).map_err(io::Error::from).and_then(|bytes| {
            fs::write(&new, bytes)?;
            fs::rename(&new, &path)
        });
        written.map_err(|source| LabError::Record { path, operation: "write it", source })
    }

    pub(super) fn remove(&self, _lock: &Lock) -> Result<(), LabError> {
        match fs::remove_dir_all(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.error("remove it", source)),
            _ => Ok(()),
        }
    }

    pub(super) fn error(&self, operation: &'static str, source: io::Error) -> LabError {
        LabError::Record { path: self.path.clone(), operation, source }
    }

    fn why_there(&self) -> LabError {
        let lab = self.lab.clone();
        match (self.lock(), self.read()) {
            (Err(busy), _) => busy,
            (_, Ok(Some(state))) if state.phase == Phase::Up => LabError::AlreadyUp { lab },
            _ => LabError::Unfinished { lab },
        }
    }
}
