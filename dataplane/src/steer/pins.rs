//! Names under the pin directory, and taking everything down.
//!
//! ```text
//! <pins>/config, ports, devices, counts, meters, heartbeats, sockets    maps
//! <pins>/deliver_0, deliver_1, steer_0, steer_1                         links on the trunk, by lane
//! <pins>/from_<ifindex>, to_<ifindex>                                   links on guarded devices
//! ```

use std::path::{Path, PathBuf};

use super::{Lane, SteerError};

/// Where links are pinned.
#[derive(Clone, Debug)]
pub(super) struct Pins(pub(super) PathBuf);

impl Pins {
    pub(super) fn port_ingress(&self, ifindex: u32) -> PathBuf {
        self.0.join(format!("from_{ifindex}"))
    }

    pub(super) fn port_egress(&self, ifindex: u32) -> PathBuf {
        self.0.join(format!("to_{ifindex}"))
    }

    /// Where a link waits that is to take another's place. (bpffs takes no dots in names.)
    pub(super) fn aside(pin: &Path) -> PathBuf {
        let mut aside = pin.as_os_str().to_owned();
        aside.push("_new");
        aside.into()
    }

    pub(super) fn deliver(&self, lane: Lane) -> PathBuf {
        self.0.join(format!("deliver_{}", lane.index()))
    }

    pub(super) fn steer(&self, lane: Lane) -> PathBuf {
        self.0.join(format!("steer_{}", lane.index()))
    }
}

/// Removes every pinned link and map in `pins`, and the directory. What was attached through the
/// links comes off with them. Returns how many pins there were; none is not an error.
pub fn detach(pins: &Path) -> Result<usize, SteerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SteerError::Pins { path, source }
    };
    let entries = match std::fs::read_dir(pins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed(pins)(error)),
    };
    // Ports first: a frame must not be lifted onto a trunk that no longer delivers.
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed(pins))?;
    paths.sort_by_key(|path| !is_port_link(path));
    for path in &paths {
        std::fs::remove_file(path).map_err(failed(path))?;
    }
    std::fs::remove_dir(pins).map_err(failed(pins))?;
    Ok(paths.len())
}

fn is_port_link(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("from_") || name.starts_with("to_")
}
