//! Which bridge an instance guards, and where that is: noted in its directory before anything is
//! attached.
//!
//! Devices are known by number, and numbers mean something in one network namespace only. A gateway
//! that took up the guard of another place would let go of what it does not find there: the wire
//! would be open.

use std::fmt;
use std::io;
use std::path::Path;

use super::scope::DevicePattern;
use super::{Paths, list_instances};
use crate::net::{NetError, Netns};

/// A bridge in a network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Home {
    /// The network namespace's number.
    netns: u64,
    bridge: String,
}

/// Why an instance cannot guard a bridge.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// What it has left guards another one.
    #[error(
        "the gateway {instance:?} guards {there}, and was not detached; detach it first (podgate detach --name \
         {instance}), which opens that wire, or choose another --name for {here}"
    )]
    Elsewhere {
        /// The instance.
        instance: String,
        /// What it guards.
        there: String,
        /// What it was to guard.
        here: String,
    },
    /// Another instance guards it.
    #[error(
        "{here} is guarded by the gateway {other:?} already; run that one (--name {other}), or detach it first \
         (podgate detach --name {other})"
    )]
    Taken {
        /// The bridge.
        here: String,
        /// Who guards it.
        other: String,
    },
    /// The namespace has no number.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The note could not be written or read.
    #[error("cannot use {path}: {source}")]
    Files {
        /// Where it is.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Home {
    /// The bridge of that name in the calling thread's network namespace.
    pub(super) fn here(bridge: &str) -> Result<Self, NetError> {
        Ok(Self { netns: Netns::current()?.cookie()?, bridge: bridge.into() })
    }

    /// Settles the instance here, unless it has another home, or this one is another instance's.
    pub(super) fn settle(&self, paths: &Paths, instance: &str) -> Result<(), HomeError> {
        let failed = |source| HomeError::Files { path: paths.home().display().to_string(), source };
        match Self::read(&paths.home()).map_err(failed)? {
            // A note that outlived its guard, as after a boot, says nothing.
            Some(there) if there != *self && paths.has_pins() => {
                let (instance, there, here) = (instance.into(), there.to_string(), self.to_string());
                return Err(HomeError::Elsewhere { instance, there, here });
            }
            _ => {}
        }
        for other in list_instances(paths.run_dir()) {
            let its = Paths::new(paths.run_dir(), &other);
            let there = Self::read(&its.home()).ok().flatten().filter(|_| its.has_pins());
            if other != instance && there.is_some_and(|there| self.overlaps(&there)) {
                return Err(HomeError::Taken { here: self.to_string(), other });
            }
        }
        std::fs::write(paths.home(), format!("{} {}\n", self.netns, self.bridge)).map_err(failed)
    }

    /// Whether some device may be both's to guard: two gateways would hand its frames to each other for ever.
    fn overlaps(&self, other: &Self) -> bool {
        let (mine, its) = (self.bridge.split(" and "), other.bridge.split(" and "));
        let pairs = mine.flat_map(|mine| its.clone().map(move |its| (mine, its)));
        self.netns == other.netns && pairs.into_iter().any(|(mine, its)| meet(mine, its))
    }

    fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let (netns, bridge) = text.trim_end().split_once(' ').unwrap_or_default();
        Ok(netns.parse().ok().map(|netns| Self { netns, bridge: bridge.into() }))
    }
}

/// Whether two parts of what is guarded, as `RunOptions::guards` writes them, have a device in common: the same
/// bridge, or patterns that a name may match both of.
fn meet(one: &str, other: &str) -> bool {
    let routed = |part: &str| part.strip_prefix("routed ")?.parse::<DevicePattern>().ok();
    match (routed(one), routed(other)) {
        (Some(one), Some(other)) => one.meets(&other),
        _ => one == other,
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the network namespace with cookie {}", self.bridge, self.netns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_homes_overlap_where_a_device_may_be_of_both() {
        let home = |netns, bridge: &str| Home { netns, bridge: bridge.into() };
        for (one, other, expected) in [
            ("cni0", "cni0", true),
            ("cni0", "cni1", false),
            ("cni0", "cni0 and routed zz*", true),
            ("cni0 and routed a*", "cni1 and routed b*", false),
            ("routed veth*", "routed v*", true),
            ("routed veth*", "cni1 and routed veth7", true),
            ("routed veth7", "routed veth8", false),
            ("routed veth7", "routed veth7", true),
            ("cni0", "routed cni0", false),
        ] {
            assert_eq!(home(1, one).overlaps(&home(1, other)), expected, "{one}, {other}");
            assert_eq!(home(1, other).overlaps(&home(1, one)), expected, "{other}, {one}");
            assert!(!home(1, one).overlaps(&home(2, other)), "elsewhere");
        }
    }
}
