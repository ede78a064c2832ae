//! Flows carried over a restart, in a file of the instance.
//!
//! ```text
//! magic 8   file format 4   flow format 4   origin 8   count 8   flows 128 each   checksum 8
//! ```
//!
//! All numbers are little endian. The origin says which boot of which machine and which bridge the
//! flows are of; the checksum (64-bit FNV-1a) covers everything before it. A file that is not whole,
//! or of another origin or format, is refused as a whole. Its format changes with the numbers of
//! causes too.
//!
//! With a flow comes which of its sides had their say ([`lasting`]), because where live flows are not
//! judged again, a pod that had none must still be asked before anything passes its port.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use podgate_dataplane::policy::Cause;
use podgate_flowtable::{
    Decision, EXPORT_FORMAT, EXPORT_LEN_BYTES, Epoch, ExportedFlow, FlowTable, ImportError, MalformedFlow,
    Time,
};

use super::Paths;
use super::gateway::Gateway;

const MAGIC: [u8; 8] = *b"podflows";
const FORMAT: u32 = 2;
const HEAD_LEN_BYTES: usize = 32;
const SUM_LEN_BYTES: usize = 8;

/// Flows mean something to a gateway of the same bridge and clock only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin(u64);

impl Origin {
    /// This boot, and the bridge that is noted at `home`. Where either cannot be told, no file fits.
    pub(super) fn here(home: &Path) -> io::Result<Self> {
        let mut sum = Checksum::new();
        sum.add(&fs::read("/proc/sys/kernel/random/boot_id")?);
        sum.add(&fs::read(home)?);
        Ok(Self(sum.0))
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

/// Writes all flows to `path`, in one step; returns how many. What was decided before the epoch
/// `valid_from` is no longer worth anything: then nobody has had a say.
pub(super) fn write(
    path: &Path,
    flows: &FlowTable,
    origin: Origin,
    valid_from: Epoch,
) -> Result<usize, CarryError> {
    let failed = |source| CarryError::Files { path: path.into(), source };
    // Their number comes first, so they are collected: nothing else goes on by now.
    let records: Vec<_> = flows
        .export()
        .map(|mut flow| {
            if flow.decision.epoch < valid_from {
                flow.decision = Decision { egress: UNASKED, ingress: UNASKED, ..flow.decision };
            }
            flow.to_bytes()
        })
        .collect();
    let aside = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
    let mut out = Summed { out: BufWriter::new(file.map_err(failed)?), sum: Checksum::new() };
    let mut put = || {
        out.put(&MAGIC)?;
        out.put(&FORMAT.to_le_bytes())?;
        out.put(&EXPORT_FORMAT.to_le_bytes())?;
        out.put(&origin.0.to_le_bytes())?;
        out.put(&(records.len() as u64).to_le_bytes())?;
        records.iter().try_for_each(|record| out.put(record))?;
        let sum = out.sum.0;
        out.put(&sum.to_le_bytes())?;
        out.out.flush()
    };
    put().and_then(|()| fs::rename(&aside, path)).map_err(failed)?;
    Ok(records.len())
}

/// Takes the flows at `path` into `flows`. No file, no flows. The file stays until [`forget`], so
/// that a start that fails later leaves it for the next one.
pub(super) fn take(path: &Path, flows: &FlowTable, origin: Origin, now: Time) -> Result<Carried, CarryError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Carried::default()),
        read => read.map_err(|source| CarryError::Files { path: path.into(), source })?,
    };
    // All of it is good before any of it is used.
    let records = parse(path, &bytes, origin)?;
    let mut carried = Carried::default();
    for mut flow in records {
        let Decision { egress, ingress, .. } = flow.decision;
        flow.decision = Decision { egress: lasting(egress), ingress: lasting(ingress), ..flow.decision };
        match flows.import(&flow, now) {
            Ok(_) | Err(ImportError::Exists(_)) => carried.taken += 1,
            Err(ImportError::Expired) => carried.expired += 1,
            Err(ImportError::Full) => carried.full += 1,
        }
    }
    Ok(carried)
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
        let newest = self.state().snapshots.back().map_or(Epoch(0), |snapshot| snapshot.epoch);
        let valid_from = if self.options.switches.recheck_live_flows { newest } else { Epoch(0) };
        let left = Origin::here(&paths.home())
            .map_err(failed)
            .and_then(|origin| write(&paths.flows(), &self.shared.flows, origin, valid_from));
        match left {
            Ok(flows) => tracing::info!(flows, "flows left for the next start"),
            Err(error) => tracing::warn!("flows are not left for the next start: {error}"),
        }
    }
}

fn parse(path: &Path, bytes: &[u8], origin: Origin) -> Result<Vec<ExportedFlow>, CarryError> {
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
    let count = word(24).ok_or_else(too_short)?;
    let expected = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(EXPORT_LEN_BYTES)?.checked_add(HEAD_LEN_BYTES + SUM_LEN_BYTES));
    if expected != Some(bytes.len()) {
        let expected = expected.unwrap_or(usize::MAX);
        return Err(CarryError::Length { path: path(), found: bytes.len(), expected });
    }
    let (covered, sum) = bytes.split_at(bytes.len() - SUM_LEN_BYTES);
    let mut own = Checksum::new();
    own.add(covered);
    if sum != own.0.to_le_bytes() {
        return Err(CarryError::Damaged { path: path() });
    }
    if word(16) != Some(origin.0) {
        return Err(CarryError::Elsewhere { path: path() });
    }
    let (records, _) = covered[HEAD_LEN_BYTES..].as_chunks::<EXPORT_LEN_BYTES>();
    let flow = |(number, record)| {
        let malformed = |source| CarryError::Malformed { path: path(), number, source };
        ExportedFlow::from_bytes(record).map_err(malformed)
    };
    records.iter().enumerate().map(flow).collect()
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): against accidents, not against forgers; the directory is
/// root's alone.
#[derive(Clone, Copy)]
struct Checksum(u64);

impl Checksum {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Adds up what it writes.
struct Summed {
    out: BufWriter<File>,
    sum: Checksum,
}

impl Summed {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.add(bytes);
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests;
