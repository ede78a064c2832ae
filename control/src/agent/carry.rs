//! Flows carried over a restart, in a file of the instance.
//!
//! ```text
//! magic 8   file format 4   flow format 4   origin 8   count 8   bytes of owners 8
//! flows 152 each   owners   checksum 4
//! ```
//!
//! All numbers are little endian. The owners are the pods that have addresses ([`Owners`]): one that
//! another pod has by the time of the next start brings no flows along. The origin says which boot of which machine and which bridge the
//! flows are of; the checksum (CRC-32, against accidents: the
//! directory is root's alone) covers everything before it. A file that is not whole,
//! or of another origin or format, is refused as a whole. Its format changes with the numbers of
//! causes too.
//!
//! With a flow comes which of its sides had their say ([`lasting`]), because where live flows are not
//! judged again, a pod that had none must still be asked before anything passes its port.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use podgate_dataplane::policy::{Cause, Handovers};
use podgate_dataplane::steer::Fallback;
use podgate_flowtable::{
    Decision, EXPORT_FORMAT, EXPORT_LEN_BYTES, Epoch, ExportedFlow, FlowTable, ImportError, MalformedFlow,
    Time,
};

use super::Paths;
use super::gateway::Gateway;
use super::owners::Owners;

const MAGIC: [u8; 8] = *b"podflows";
const FORMAT: u32 = 3;
const HEAD_LEN_BYTES: usize = 40;
const SUM_LEN_BYTES: usize = 4;
/// Where the number of flows stands.
const COUNT: usize = 24;

/// Flows mean something to a gateway of the same bridge and clock only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin(u64);

impl Origin {
    /// This boot, and the bridge that is noted at `home`. Where either cannot be told, no file fits.
    pub(super) fn here(home: &Path) -> io::Result<Self> {
        let mut sum = Hasher::new();
        sum.update(&fs::read("/proc/sys/kernel/random/boot_id")?);
        sum.update(&fs::read(home)?);
        Ok(Self(sum.finalize().into()))
    }

    /// As a number that another place does not have.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

/// Why a file of flows is not taken up.
#[derive(Debug, thiserror::Error)]
pub(super) enum CarryError {
    /// It cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{}: this is no file of flows", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is of another version of podgate.
    #[error("{}: written in format {found}, this podgate reads {}", .path.display(), format())]
    Version {
        /// The file.
        path: PathBuf,
        /// File and flow format.
        found: String,
    },
    /// It is of another bridge, or from before the machine was booted.
    #[error("{}: its flows are of another bridge or another boot", .path.display())]
    Elsewhere {
        /// The file.
        path: PathBuf,
    },
    /// It is not as long as it says.
    #[error("{}: {found} bytes where {expected} should be; it was cut short or something was added", .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: usize,
        /// What it should be.
        expected: usize,
    },
    /// It is not as it was written.
    #[error("{}: its checksum does not fit; it was damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// It does not say whose addresses are.
    #[error("{}: what it says of the owners of addresses cannot be read", .path.display())]
    Owners {
        /// The file.
        path: PathBuf,
    },
    /// It holds what is no flow.
    #[error("{}: flow {number}: {source}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which flow, from 0.
        number: usize,
        /// What is wrong with it.
        source: MalformedFlow,
    },
}

fn format() -> String {
    format!("{FORMAT}.{EXPORT_FORMAT}")
}

/// What is left to the next gateway.
pub(super) struct Estate<'a> {
    pub(super) flows: &'a FlowTable,
    /// Who has the addresses of pods.
    pub(super) owners: &'a Owners,
    /// Those that have changed hands since flows were last looked at.
    pub(super) handovers: &'a Handovers,
    /// What was decided before this epoch is no longer worth anything: then nobody has had a say.
    pub(super) valid_from: Epoch,
    pub(super) fallback: Fallback,
}

/// What became of the flows in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Carried {
    /// Taken in.
    pub(super) taken: usize,
    /// Silent for too long meanwhile.
    pub(super) expired: usize,
    /// Without room, in a table smaller than the one before.
    pub(super) full: usize,
}

/// Writes all flows to `path`, in one step; returns how many.
pub(super) fn write(path: &Path, origin: Origin, estate: &Estate<'_>) -> Result<usize, CarryError> {
    let Estate { flows, owners, handovers, valid_from, fallback } = *estate;
    let failed = |source| CarryError::Files { path: path.into(), source };
    let owners = owners.to_bytes();
    let room = HEAD_LEN_BYTES + flows.len() * EXPORT_LEN_BYTES + owners.len() + SUM_LEN_BYTES;
    let mut bytes = Vec::with_capacity(room);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&EXPORT_FORMAT.to_le_bytes());
    bytes.extend_from_slice(&origin.0.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&(owners.len() as u64).to_le_bytes());
    let mut count = 0_usize;
    let is_somebodys = |flow: &ExportedFlow| !handovers.outdate(flow.original(), flow.decision.epoch);
    for mut flow in flows.export().filter(is_somebodys) {
        if flow.decision.epoch < valid_from {
            flow.decision = Decision { egress: UNASKED, ingress: UNASKED, ..flow.decision };
        }
        if fallback == Fallback::Open {
            // Until the next start nobody sees how far the connection gets.
            flow.forget_windows();
        }
        bytes.extend_from_slice(&flow.to_bytes());
        count += 1;
    }
    bytes[COUNT..COUNT + 8].copy_from_slice(&(count as u64).to_le_bytes());
    bytes.extend_from_slice(&owners);
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    let aside = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
    let written = file.and_then(|mut file| file.write_all(&bytes));
    written.and_then(|()| fs::rename(&aside, path)).map_err(failed)?;
    Ok(count)
}

/// Takes the flows at `path` into `flows`, and says whose the addresses were. No file, no flows. The
/// file stays until [`forget`], so that a start that fails later leaves it for the next one.
pub(super) fn take(
    path: &Path,
    flows: &FlowTable,
    origin: Origin,
    now: Time,
) -> Result<(Carried, Owners), CarryError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
        read => read.map_err(|source| CarryError::Files { path: path.into(), source })?,
    };
    // All of it is good before any of it is used.
    let (records, owners) = check(path, &bytes, origin)?;
    let mut carried = Carried::default();
    for mut flow in records.iter().flat_map(ExportedFlow::from_bytes) {
        let Decision { egress, ingress, .. } = flow.decision;
        flow.decision = Decision { egress: lasting(egress), ingress: lasting(ingress), ..flow.decision };
        match flows.import(&flow, now) {
            Ok(_) | Err(ImportError::Exists(_)) => carried.taken += 1,
            Err(ImportError::Expired) => carried.expired += 1,
            Err(ImportError::Full) => carried.full += 1,
        }
    }
    Ok((carried, owners))
}

/// The cause of a side that had no say.
const UNASKED: u32 = Cause::NotLocal.code();

/// What is left of a side's cause once its gateway is gone. What does not allow, or means nothing, is
/// as good as never asked.
fn lasting(cause: u32) -> u32 {
    match Cause::from_code(cause) {
        Some(Cause::Rule(_)) => Cause::Carried.code(),
        Some(cause) if cause.allows() => cause.code(),
        Some(_) | None => UNASKED,
    }
}

/// Removes the file, good or bad: what it says is true once, and from here on it is past.
pub(super) fn forget(path: &Path) -> Result<(), CarryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| CarryError::Files { path: path.into(), source }),
    }
}

impl Gateway {
    /// Leaves its flows for the next one. To be called when the workers have stopped.
    pub(super) fn leave_flows(&self, paths: &Paths) {
        let failed = |source| CarryError::Files { path: paths.home(), source };
        // Where live flows are judged again, some may still wait for their turn.
        let state = self.state();
        let newest = state.snapshots.back();
        let epoch = newest.map_or(Epoch(0), |snapshot| snapshot.epoch);
        let estate = Estate {
            flows: &self.shared.flows,
            owners: &state.owners,
            handovers: &newest.map(|snapshot| snapshot.handovers.clone()).unwrap_or_default(),
            valid_from: if self.options.switches.recheck_live_flows { epoch } else { Epoch(0) },
            fallback: self.options.fallback,
        };
        let left = Origin::here(&paths.home())
            .map_err(failed)
            .and_then(|origin| write(&paths.flows(), origin, &estate));
        match left {
            Ok(flows) => tracing::info!(flows, "flows left for the next start"),
            Err(error) => tracing::warn!("flows are not left for the next start: {error}"),
        }
    }
}

/// The flows of a file that is whole and ours, each of which can be read, and the owners of addresses.
fn check<'a>(
    path: &Path,
    bytes: &'a [u8],
    origin: Origin,
) -> Result<(&'a [[u8; EXPORT_LEN_BYTES]], Owners), CarryError> {
    let path = || path.to_path_buf();
    if !bytes.starts_with(&MAGIC) {
        return Err(CarryError::Foreign { path: path() });
    }
    let word =
        |at: usize| bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
    let too_short =
        || CarryError::Length { path: path(), found: bytes.len(), expected: HEAD_LEN_BYTES + SUM_LEN_BYTES };
    let formats = word(8).ok_or_else(too_short)?;
    let (file, flow) = (formats as u32, (formats >> 32) as u32);
    if (file, flow) != (FORMAT, EXPORT_FORMAT) {
        return Err(CarryError::Version { path: path(), found: format!("{file}.{flow}") });
    }
    let size = |at: usize| Some(usize::try_from(word(at)?).unwrap_or(usize::MAX));
    let count = size(COUNT).ok_or_else(too_short)?;
    let owners_len_bytes = size(COUNT + 8).ok_or_else(too_short)?;
    let flows_len_bytes = count.saturating_mul(EXPORT_LEN_BYTES);
    let expected =
        flows_len_bytes.saturating_add(owners_len_bytes).saturating_add(HEAD_LEN_BYTES + SUM_LEN_BYTES);
    if expected != bytes.len() {
        return Err(CarryError::Length { path: path(), found: bytes.len(), expected });
    }
    let (covered, sum) = bytes.split_at(bytes.len() - SUM_LEN_BYTES);
    if sum != crc32fast::hash(covered).to_le_bytes() {
        return Err(CarryError::Damaged { path: path() });
    }
    if word(16) != Some(origin.0) {
        return Err(CarryError::Elsewhere { path: path() });
    }
    let (flows, owners) = covered[HEAD_LEN_BYTES..].split_at(flows_len_bytes);
    let (records, _) = flows.as_chunks::<EXPORT_LEN_BYTES>();
    for (number, record) in records.iter().enumerate() {
        ExportedFlow::from_bytes(record).map_err(|source| CarryError::Malformed {
            path: path(),
            number,
            source,
        })?;
    }
    let owners = Owners::from_bytes(owners).ok_or_else(|| CarryError::Owners { path: path() })?;
    Ok((records, owners))
}

#[cfg(test)]
mod tests;
