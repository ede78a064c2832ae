//! Network namespaces.
//!
//! A namespace is entered only on a thread made for it and ended after: the caller's own thread
//! never changes its namespaces, so no other code can find itself in the wrong one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::{panic, thread};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType};

use super::{NetError, view};

/// Where namespaces with a name are bound, for `ip netns` to see them.
const NAMED: &str = "/run/netns";

/// The namespace of the thread that opens it.
const OWN: &str = "/proc/thread-self/ns/net";

/// `SO_NETNS_COOKIE`, of Linux 5.14.
#[derive(Clone, Copy, Debug)]
struct NetnsCookie;

nix::getsockopt_impl!(
    NetnsCookie,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    socket::sockopt::GetStruct<u64>
);

/// An open network namespace. It lives at least as long as this handle, deleted or not.
#[derive(Debug, Clone)]
pub struct Netns {
    /// For messages: the name, or the path.
    label: Arc<str>,
    path: PathBuf,
    file: Arc<File>,
}

impl Netns {
    /// A new namespace bound at `/run/netns/<name>`, as `ip netns add` makes them.
    pub fn create(name: &str) -> Result<Self, NetError> {
        let path = Self::named_path(name)?;
        prepare_named_directory().map_err(|source| NetError::Namespace {
            namespace: name.into(),
            operation: "prepare /run/netns",
            source,
        })?;
        Self::create_bound(name.into(), path)
    }

    /// A new namespace bound at a path of the caller's choice, which `ip netns` does not list.
    pub fn create_at(path: &Path) -> Result<Self, NetError> {
        Self::create_bound(path.display().to_string().into(), path.to_owned())
    }

    /// The namespace bound at `/run/netns/<name>`.
    pub fn open(name: &str) -> Result<Self, NetError> {
        Self::open_file(name.into(), Self::named_path(name)?)
    }

    /// The namespace bound at a path, or a process's `/proc/PID/ns/net`.
    pub fn open_at(path: &Path) -> Result<Self, NetError> {
        Self::open_file(path.display().to_string().into(), path.to_owned())
    }

    /// The calling thread's own namespace.
    pub fn current() -> Result<Self, NetError> {
        Self::open_file("this namespace".into(), OWN.into())
    }

    /// Where a namespace of that name is bound, whether it exists or not.
    pub fn named_path(name: &str) -> Result<PathBuf, NetError> {
        let problem = match name {
            "" => "it is empty",
            "." | ".." => "it is a directory",
            _ if name.contains(['/', '\0']) => "it contains a slash or a zero byte",
            _ if name.len() > 255 => "it is longer than 255 bytes",
            _ => return Ok(Path::new(NAMED).join(name)),
        };
        Err(NetError::BadName { name: name.into(), what: "network namespace", problem })
    }

    /// Where it is bound.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name or path, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its inode: two handles are of one namespace exactly if these are equal.
    pub fn inode(&self) -> Result<u64, NetError> {
        self.file.metadata().map(|found| found.ino()).map_err(|source| self.error("identify it", source))
    }

    /// Its number, which no other namespace of this boot has or will have, as inodes would.
    pub fn cookie(&self) -> Result<u64, NetError> {
        let asked = self.run(|| {
            let (family, kind) = (AddressFamily::Unix, SockType::Datagram);
            let of_it = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
            socket::getsockopt(&of_it, NetnsCookie)
        })?;
        asked.map_err(|errno| self.error("ask for its number", errno.into()))
    }

    /// Runs a closure on a new thread that is in this namespace, and waits for it.
    ///
    /// What the closure opens (sockets, `/proc/sys/net` files) stays with this namespace after.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        let entered = thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&*self.file, CloneFlags::CLONE_NEWNET)?;
                    Ok::<T, nix::Error>(work())
                })
                .join()
        });
        match entered {
            Ok(result) => result.map_err(|errno| self.error("enter it", errno.into())),
            Err(payload) => panic::resume_unwind(payload),
        }
    }

    /// Runs a future to its end on a new thread in this namespace, with a runtime of its own.
    pub fn run_async<T, F>(&self, work: impl FnOnce() -> F + Send) -> Result<T, NetError>
    where
        T: Send,
        F: Future<Output = T>,
    {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(work()))
        })?
        .map_err(|source| self.error("start a runtime in it", source))
    }

    /// Starts a program in this namespace: a child inherits the namespace of the thread that forks.
    pub fn spawn(&self, mut command: Command) -> Result<Child, NetError> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.run(move || command.spawn())?.map_err(|source| NetError::Spawn {
            namespace: self.label.to_string(),
            program,
            source,
        })
    }

    /// The same, and the program sees the files in `etc` in the place of those in `/etc`.
    pub fn spawn_with_etc(&self, mut command: Command, etc: &Path) -> Result<Child, NetError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let spawned = self.run(move || {
            view::put_over_etc(etc)?;
            Ok(command.spawn())
        })?;
        let spawned = spawned.map_err(|source| self.error("put files over those in /etc", source))?;
        spawned.map_err(|source| NetError::Spawn { namespace: self.label.to_string(), program, source })
    }

    /// Takes it off its path. The kernel ends it when the last process and handle in it are gone.
    pub fn delete(self) -> Result<(), NetError> {
        Self::delete_at(&self.path)
    }

    /// Takes whatever namespace is bound at a path off it. There being none is no error.
    pub fn delete_at(path: &Path) -> Result<(), NetError> {
        let error = |operation, source| NetError::Namespace {
            namespace: path.display().to_string(),
            operation,
            source,
        };
        match umount2(path, MntFlags::MNT_DETACH) {
            // EINVAL: the file is there, nothing is mounted on it (a creation that was cut short).
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(errno) => return Err(error("unmount it", errno.into())),
        }
        match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(error("remove its file", source)),
        }
    }

    fn create_bound(label: Arc<str>, path: PathBuf) -> Result<Self, NetError> {
        let error =
            |operation, source| NetError::Namespace { namespace: label.to_string(), operation, source };
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o444).open(&path) {
            Ok(_) => {}
            Err(there) if there.kind() == io::ErrorKind::AlreadyExists => {
                return Err(NetError::NamespaceExists { namespace: label.to_string() });
            }
            Err(source) => return Err(error("create its file", source)),
        }
        let bound = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                })
                .join()
        });
        let bound = bound.unwrap_or_else(|payload| panic::resume_unwind(payload));
        if let Err(errno) = bound {
            let _ = fs::remove_file(&path);
            return Err(error("create it", errno.into()));
        }
        Self::open_file(label, path)
    }

    fn open_file(label: Arc<str>, path: PathBuf) -> Result<Self, NetError> {
        match File::open(&path) {
            Ok(file) => Ok(Self { label, path, file: Arc::new(file) }),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                Err(NetError::NoSuchNamespace { namespace: label.to_string() })
            }
            Err(source) => {
                Err(NetError::Namespace { namespace: label.to_string(), operation: "open it", source })
            }
        }
    }

    fn error(&self, operation: &'static str, source: io::Error) -> NetError {
        NetError::Namespace { namespace: self.label.to_string(), operation, source }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Netns {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Makes `/run/netns` a shared mount, so that a namespace deleted here is gone from every mount
/// namespace that got a copy of it; otherwise such a copy would keep it alive (ip-netns(8)).
fn prepare_named_directory() -> io::Result<()> {
    let directory = Path::new(NAMED);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    // Two creators at once would mount it twice over.
    let _lock = Flock::lock(File::open(directory)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, directory, None::<&str>, flags, None::<&str>)
    };
    match share() {
        // It is not a mount yet.
        Err(nix::Error::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(directory), directory, None::<&str>, flags, None::<&str>)?;
            Ok(share()?)
        }
        other => Ok(other?),
    }
}
