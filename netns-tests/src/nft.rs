//! An nft that can be held back, and the gateway's loop with it.
//!
//! The loop waits for nft whenever it lets another port pass the fence. Held there, it answers nobody and reads no
//! event, while the kernel goes on telling and runtimes go on asking: what it finds then is what a busy machine
//! would give it at times, every time.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::program::PATIENCE;
use crate::wait_until;

/// Says that it has been run, waits while it is held, and is the usual one then.
const PROGRAM: &str = r#"#!/bin/sh
here=${0%/*}
: >"$here/run"
flock --shared "$here/lock" true
PATH=${PATH#*:}
exec nft "$@"
"#;

/// A program `nft` in a folder of its own.
#[derive(Debug)]
pub struct HeldNft {
    dir: TempDir,
}

/// nft waits until this is dropped.
#[derive(Debug)]
#[must_use = "nft goes on when it is dropped"]
pub struct Hold {
    run: PathBuf,
    _lock: Flock<File>,
}

impl HeldNft {
    /// One that is not held yet.
    #[track_caller]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("podgate-nft-").tempdir().expect("a directory");
        let program = dir.path().join("nft");
        fs::write(&program, PROGRAM).expect("a program");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("a program");
        Self { dir }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whoever runs it from now on waits.
    #[track_caller]
    pub fn hold(&self) -> Hold {
        let run = self.dir().join("run");
        // That of before.
        let _ = fs::remove_file(&run);
        let file = File::create(self.dir().join("lock")).expect("a lock");
        let lock = Flock::lock(file, FlockArg::LockExclusive).unwrap_or_else(|(_, errno)| panic!("{errno}"));
        Hold { run, _lock: lock }
    }
}

impl Default for HeldNft {
    fn default() -> Self {
        Self::new()
    }
}

impl Hold {
    /// Waits until somebody has run it.
    #[track_caller]
    pub fn wait_until_run(&self) {
        wait_until("nft is run", PATIENCE, || self.run.exists());
    }
}
