//! Taking everything down: programs, pins, trunk, files. The wire is open afterwards.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use podgate_dataplane::steer::{self, SteerError};

use super::fencing;
use super::paths::{NameError, Paths, check_name};
use super::trunk::Trunk;
use crate::fence::FenceError;
use crate::net::{NetError, Netlink};

/// What was taken down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DetachReport {
    /// Pinned links and maps.
    pub pins: usize,
}

/// Why not everything could be taken down.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// No instance can have that name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A gateway of that name runs.
    #[error(transparent)]
    Held(#[from] LockError),
    /// The programs could not be removed.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// The trunk could not be removed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The fence could not be removed.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// The files could not be removed.
    #[error("cannot remove {}: {source}", .path.display())]
    Files {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why an instance's lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("a gateway named {name:?} is running (process {pid}); stop it first, or choose another --name")]
    Held {
        /// The instance.
        name: String,
        /// The process that has it, as it wrote.
        pid: String,
    },
    /// It could not be made.
    #[error("cannot lock {}: {source}", .path.display())]
    Files {
        /// The lock.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Held while a gateway runs or is being taken down; released when dropped, also by a crash.
#[derive(Debug)]
pub(super) struct InstanceLock {
    _file: Flock<File>,
}

impl InstanceLock {
    pub(super) fn take(paths: &Paths, name: &str) -> Result<Self, LockError> {
        let failed = |source| LockError::Files { path: paths.lock(), source };
        loop {
            paths.ensure_dir().map_err(failed)?;
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(paths.lock());
            match Flock::lock(file.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
                Ok(mut file) => {
                    // Whoever held it may have removed it since it was opened here.
                    let opened = file.metadata().map_err(failed)?.ino();
                    if std::fs::metadata(paths.lock()).is_ok_and(|there| there.ino() == opened) {
                        file.set_len(0).map_err(failed)?;
                        writeln!(file, "{}", std::process::id()).map_err(failed)?;
                        return Ok(Self { _file: file });
                    }
                }
                Err((mut file, nix::Error::EWOULDBLOCK)) => {
                    let mut pid = String::new();
                    let _ = file.read_to_string(&mut pid);
                    return Err(LockError::Held { name: name.into(), pid: pid.trim().into() });
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
        }
    }
}

/// Takes down whatever the instance has left: a held guard, a crashed gateway's, a half-made one.
/// Nothing being there is no error. Must be called in the network namespace the gateway ran in.
pub async fn detach(paths: &Paths, name: &str) -> Result<DetachReport, DetachError> {
    check_name(name)?;
    let lock = InstanceLock::take(paths, name)?;
    let report = take_down(paths, name).await?;
    remove_files(paths, lock)?;
    Ok(report)
}

/// As [`detach`], by whoever holds the lock; the files are left for [`remove_files`].
pub(super) async fn take_down(paths: &Paths, name: &str) -> Result<DetachReport, DetachError> {
    let mut report = DetachReport::default();
    // First: should it fail, nothing is open yet.
    fencing::lower(paths, name).await?;
    for pins in paths.pins() {
        report.pins += steer::detach(&pins)?;
    }
    Trunk::destroy(paths, name, &Netlink::connect()?).await?;
    Ok(report)
}

/// Removes the instance's directory, and the lock with it: the next one to come makes another.
pub(super) fn remove_files(paths: &Paths, _held: InstanceLock) -> Result<(), DetachError> {
    paths.remove().map_err(|source| DetachError::Files { path: paths.dir(), source })
}
