//! Which tests may share the machine, and which want it alone.
//!
//! A test that floods, or that counts what is on the whole machine, would disturb the others; two
//! test processes know nothing of each other. A lock on a file settles it.

use std::fs::File;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

/// A test's turn on the machine; over when dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held")] Flock<File>);

impl Turn {
    /// Together with others that share.
    pub fn shared() -> Self {
        Self::take(FlockArg::LockShared)
    }

    /// With no other live test at the same time.
    pub fn alone() -> Self {
        Self::take(FlockArg::LockExclusive)
    }

    fn take(how: FlockArg) -> Self {
        assert!(geteuid().is_root(), "live tests make network namespaces: run them as root");
        let path = std::env::temp_dir().join("podgate-live-tests.lock");
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(Flock::lock(file, how).unwrap_or_else(|(_, errno)| panic!("{}: {errno}", path.display())))
    }
}
