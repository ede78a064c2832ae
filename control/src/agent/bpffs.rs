//! bpf file systems, and directories that only their owner may change.
//!
//! A pin lives as long as its file system, and that as long as it is mounted somewhere. One that is
//! mounted in a mount namespace of our own ends with us: `ip netns exec` makes such a namespace, and
//! hides `/sys/fs/bpf`; a container without the host's `/sys/fs/bpf` is one.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{major, minor};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Whether the root of a bpf file system, or something in one, is at `path`.
pub(super) fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts one of our own at `path`, for root alone. The kernel's default lets everybody make
/// directories in it, one of which might be an instance's.
pub(super) fn mount_own(path: &Path) -> io::Result<()> {
    Ok(mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))?)
}

/// Undoes [`mount_own`].
pub(super) fn unmount(path: &Path) -> io::Result<()> {
    Ok(umount2(path, MntFlags::MNT_DETACH)?)
}

/// Whether the file system at `path` is there without us: whether the first process has it too.
pub(super) fn outlives_us(path: &Path) -> io::Result<bool> {
    if std::process::id() == 1 {
        // The end of a container's first process is the container's. What was mounted for it from
        // outside is older than we are, and that is all that can be told from in here.
        return Ok(!is_own_mount(path)?);
    }
    let device = std::fs::metadata(path)?.dev();
    let mounts = std::fs::read_to_string("/proc/1/mountinfo")?;
    Ok(lists_device(&mounts, major(device), minor(device)))
}

/// Whether `path` is where we mount, rather than the system's.
fn is_own_mount(path: &Path) -> io::Result<bool> {
    Ok(!path.canonicalize()?.starts_with("/sys"))
}

/// Whether a file like `/proc/PID/mountinfo` has a mount of that device (proc_pid_mountinfo(5),
/// the third field).
fn lists_device(mountinfo: &str, major: u64, minor: u64) -> bool {
    let device = format!("{major}:{minor}");
    mountinfo.lines().any(|line| line.split(' ').nth(2) == Some(&device))
}

/// Makes a directory for us alone, if there is none; one that is there must be of that kind.
pub(super) fn ensure_private_dir(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(path)?;
    let own = found.uid() == nix::unistd::geteuid().as_raw();
    if !found.is_dir() || !own || found.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "it is there already, but others than root may change it; find out who made it, and remove it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_device_is_found_among_mounts() {
        let mounts = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                      43 27 0:39 / /run/podgate/bpf rw,relatime shared:1 - bpf bpf rw\n";
        assert!(lists_device(mounts, 0, 39));
        assert!(!lists_device(mounts, 0, 3) && !lists_device(mounts, 43, 27));
    }

    #[test]
    fn a_directory_of_others_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance");
        ensure_private_dir(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        ensure_private_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(ensure_private_dir(&path).unwrap_err().to_string().contains("others than root"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(ensure_private_dir(&link).is_err());
    }
}
