//! What can go wrong with namespaces and devices, and what to do about it.

use std::io;

/// An operation on a namespace or a device failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// An operation on a network namespace failed.
    #[error("network namespace {namespace}: cannot {operation}: {source}{}", remedy(source))]
    Namespace {
        /// Its name or path.
        namespace: String,
        /// What was tried, as a verb phrase.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A namespace of that name is there already.
    #[error("network namespace {namespace} exists already; delete it or choose another name")]
    NamespaceExists {
        /// Its name or path.
        namespace: String,
    },
    /// There is no such namespace.
    #[error("there is no network namespace {namespace}; `ip netns` lists those that have a name")]
    NoSuchNamespace {
        /// Its name or path.
        namespace: String,
    },
    /// A name that cannot be a namespace's or a device's.
    #[error("{name:?} cannot name a {what}: {problem}")]
    BadName {
        /// The name as given.
        name: String,
        /// What it was to name.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An operation on a device failed.
    #[error(
        "device {device} in {namespace}: cannot {operation}: {source}{}{}",
        explained(detail),
        remedy(source)
    )]
    Device {
        /// Its name, or `#` and its index.
        device: String,
        /// The namespace the connection belongs to.
        namespace: String,
        /// What was tried, as a verb phrase.
        operation: String,
        /// What the kernel said.
        source: io::Error,
        /// The kernel's explanation (extended acknowledgement), often empty.
        detail: String,
    },
    /// There is no such device.
    #[error("there is no device {device} in {namespace}; `ip link` lists those that are there")]
    NoSuchDevice {
        /// Its name, or `#` and its index.
        device: String,
        /// The namespace the connection belongs to.
        namespace: String,
    },
    /// The kernel accepted a change, but reading back shows another state.
    #[error("device {device}: asked for {wanted}, the kernel reports {found}")]
    NotApplied {
        /// The device.
        device: String,
        /// What was asked for.
        wanted: String,
        /// What reading back gave.
        found: String,
    },
    /// No connection to the kernel.
    #[error("{namespace}: cannot open a netlink connection: {source}{}", remedy(source))]
    Connect {
        /// The namespace the connection was to belong to.
        namespace: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A generic netlink family is missing.
    #[error("the kernel has no netlink family {family:?}: {source}; it came with Linux {since}")]
    NoFamily {
        /// The family's name.
        family: &'static str,
        /// The kernel release that has it.
        since: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A setting below `/proc/sys/net` could not be read or written.
    #[error(
        "network namespace {namespace}: cannot {operation} sysctl {key}: {source}{}",
        sysctl_remedy(source)
    )]
    Sysctl {
        /// The namespace.
        namespace: String,
        /// The path below `/proc/sys`.
        key: String,
        /// `read` or `write`.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program could not be started in a namespace.
    #[error("network namespace {namespace}: cannot start {program}: {source}")]
    Spawn {
        /// The namespace.
        namespace: String,
        /// The program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl NetError {
    /// Whether the thing that was asked for is not there (any more).
    pub fn is_gone(&self) -> bool {
        match self {
            Self::NoSuchDevice { .. } | Self::NoSuchNamespace { .. } => true,
            Self::Device { source, .. } => source.raw_os_error() == Some(nix::libc::ENODEV),
            _ => false,
        }
    }

    /// Whether what was to be made is there already.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Device { source, .. } => source.raw_os_error() == Some(nix::libc::EEXIST),
            _ => false,
        }
    }
}

fn explained(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(nix::libc::EPERM | nix::libc::EACCES) => {
            "; run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN"
        }
        Some(nix::libc::EOPNOTSUPP) => "; this kernel or driver does not support it",
        Some(nix::libc::EEXIST) => "; something of that name or address is there already",
        Some(nix::libc::ENODEV) => "; the device is gone",
        _ => "",
    }
}

fn sysctl_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(nix::libc::EROFS) => "; in a container, mount /proc/sys writable (privileged)",
        _ => remedy(error),
    }
}
