//! Settings below `/proc/sys/net`.
//!
//! They belong to the namespace of the *thread* that opens the file (`net_ctl_root` in
//! `net/sysctl_net.c` looks at `current->nsproxy`), so they are reached through [`Netns::run`].
//!
//! A container's runtime mounts `/proc/sys` read-only. Who has CAP_SYS_ADMIN may mount another procfs, and this
//! one is attached nowhere: nobody else gains anything by it, and the container needs not be a privileged one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::{NetError, Netns};

impl Netns {
    /// Writes settings in order; keys are paths below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub fn write_sysctls(&self, settings: &[(&str, &str)]) -> Result<(), NetError> {
        self.run(|| {
            for (key, value) in settings {
                let written = match fs::write(Path::new("/proc/sys").join(key), value) {
                    Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                        write_unmounted(key, value)
                    }
                    written => written,
                };
                written.map_err(|source| self.sysctl_error(key, "write", source))?;
            }
            Ok(())
        })?
    }

    /// A setting's value without the line's end.
    pub fn read_sysctl(&self, key: &str) -> Result<String, NetError> {
        let read = self.run(|| fs::read_to_string(Path::new("/proc/sys").join(key)))?;
        read.map(|text| text.trim_end().to_owned()).map_err(|source| self.sysctl_error(key, "read", source))
    }

    /// Turns IPv6 off on a device, or with `default` on those still to come.
    pub fn disable_ipv6(&self, device: &str) -> Result<(), NetError> {
        self.write_sysctls(&[(&format!("net/ipv6/conf/{device}/disable_ipv6"), "1")])
    }

    fn sysctl_error(&self, key: &str, operation: &'static str, source: io::Error) -> NetError {
        NetError::Sysctl { namespace: self.label().into(), key: key.into(), operation, source }
    }
}

/// Writes a setting through a procfs of our own.
fn write_unmounted(key: &str, value: &str) -> io::Result<()> {
    let procfs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&procfs)?;
    let root = fsmount(&procfs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let path = Path::new("sys").join(key);
    let file = openat(&root, &path, OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC, Mode::empty())?;
    File::from(file).write_all(value.as_bytes())
}
