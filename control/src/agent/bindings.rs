//! Which pod was behind which port, kept over a crash.
//!
//! Where two ports have a pod's address, the one that was its port keeps it. Flows tell that over a restart
//! (`carry`), but a gateway that is killed leaves none.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

use serde::{Deserialize, Serialize};

use super::Paths;
use super::carry::Origin;
use crate::model::PodRef;

/// A pod, and the name of its device: a number alone may be given anew while no gateway runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Behind {
    pub(super) device: String,
    /// `namespace/name`.
    pub(super) pod: String,
    /// Its UID, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<String>,
}

/// Pods by ifindex, as last written.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    written: BTreeMap<u32, Behind>,
}

#[derive(Serialize, Deserialize)]
struct File {
    /// Devices are known by number, which means something in one boot and one namespace only.
    origin: u64,
    pods: BTreeMap<u32, Behind>,
}

impl Bindings {
    /// What a gateway before has left. What cannot be read is as if it were not there: ports are then told
    /// apart by their addresses alone.
    pub(super) fn open(paths: &Paths) -> Self {
        let read = || -> io::Result<BTreeMap<u32, Behind>> {
            let file: File = match fs::read(paths.bindings()) {
                Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
                read => serde_json::from_slice(&read?)?,
            };
            let is_ours = file.origin == Origin::here(&paths.home())?.number();
            Ok(if is_ours { file.pods } else { BTreeMap::new() })
        };
        let written = read().unwrap_or_else(|error| {
            tracing::warn!("{}: {error}; it is not used", paths.bindings().display());
            BTreeMap::new()
        });
        Self { written }
    }

    /// The pod that was behind a device.
    pub(super) fn behind(&self, ifindex: u32, device: &str) -> Option<PodRef> {
        let behind = self.written.get(&ifindex).filter(|behind| behind.device == device)?;
        Some(PodRef { key: behind.pod.parse().ok()?, uid: behind.uid.clone() })
    }

    /// Keeps what is so now, if that is something else.
    pub(super) fn keep(&mut self, paths: &Paths, pods: BTreeMap<u32, Behind>) {
        if pods == self.written {
            return;
        }
        let aside = paths.bindings().with_extension("new");
        let written = Origin::here(&paths.home()).and_then(|origin| {
            let bytes = serde_json::to_vec(&File { origin: origin.number(), pods: pods.clone() })?;
            let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
            options?.write_all(&bytes)?;
            fs::rename(&aside, paths.bindings())
        });
        match written {
            Ok(()) => self.written = pods,
            Err(error) => tracing::warn!(
                "{}: {error}; after a crash, ports are told apart by their addresses alone",
                paths.bindings().display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_in_the_same_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), "t");
        paths.ensure_dir().unwrap();
        fs::write(paths.home(), "1 cni0\n").unwrap();
        let mut before = Bindings::open(&paths);
        let behind = |device: &str, pod: &str| Behind {
            device: device.into(),
            pod: pod.into(),
            uid: Some("u".into()),
        };
        before.keep(&paths, BTreeMap::from([(7, behind("veth7", "x/a")), (8, behind("veth8", "nonsense"))]));
        let after = Bindings::open(&paths);
        let a = PodRef { key: "x/a".parse().unwrap(), uid: Some("u".into()) };
        assert_eq!(after.behind(7, "veth7"), Some(a));
        assert_eq!(
            [after.behind(8, "veth8"), after.behind(9, "veth9"), after.behind(7, "veth9")],
            [None, None, None]
        );
        fs::write(paths.home(), "2 cni0\n").unwrap();
        assert_eq!(Bindings::open(&paths).behind(7, "veth7"), None);
        fs::write(paths.bindings(), "{").unwrap();
        assert_eq!(Bindings::open(&paths).behind(7, "veth7"), None);
    }
}
