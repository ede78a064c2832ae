//! The last good state on disk: enforced after a restart until the API server answers.
//!
//! One JSON value a line: a head, an entry for every object, an end with their number and a checksum of
//! all lines before it. What of it is not whole is not used at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::super::{ObjectTrouble, list};
use super::judge::{Judged, read as read_object};
use super::kind::{Kind, Part};
use super::received::tree;
use super::store::{Entry, Store};
use crate::model::ObjectKey;

/// What this program writes; another version is not read.
const VERSION: u32 = 1;

/// What stands before the objects.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    podgate_objects: u32,
    /// Where they were read from.
    pub(super) server: String,
    /// When they were written, in seconds since 1970.
    pub(super) written: u64,
    /// Which boot of the machine that was.
    pub(super) boot: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    part: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    objects: Vec<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trouble: Option<ObjectTrouble>,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: usize,
    crc32: u32,
}

/// Why there is no saved state that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SavedError {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// The system does not give it.
    #[error("cannot be read ({0}); nothing of it is used")]
    Unreadable(#[source] io::Error),
    /// It is damaged.
    #[error(
        "is damaged at line {line} ({reason}); nothing of it is used, and it is written anew once the API answers"
    )]
    Damaged { line: usize, reason: String },
    /// Another version of podgate has written it.
    #[error(
        "was written by another version of podgate (format {found}, this one has {VERSION}); nothing of it is used"
    )]
    OtherVersion { found: u32 },
    /// It is of another API server.
    #[error(
        "was read from {found}, and the API server is {wanted}: that may be another cluster; nothing of it is used, \
         and it is written anew once the API answers"
    )]
    OtherServer { found: String, wanted: String },
    /// It could not be written.
    #[error("cannot be written ({0}); after a restart an older state would be used, or none")]
    Unwritable(#[source] io::Error),
}

/// What is to be written: made quickly, for whoever holds the store is waited for.
#[derive(Debug)]
pub(super) struct Copy {
    head: Head,
    entries: Vec<(Part, ObjectKey, Entry)>,
}

impl Copy {
    /// Of everything in `store`.
    pub(super) fn of(store: &Store, server: &str) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let head = Head {
            podgate_objects: VERSION,
            server: server.to_owned(),
            written: since.as_secs(),
            boot: boot_id(),
        };
        let entries = store.entries().map(|(part, key, entry)| (part, key.clone(), entry.clone())).collect();
        Self { head, entries }
    }

    /// Writes it to `path`, in the place of what is there, in one step. It is for root alone: it tells
    /// everything about a cluster's network.
    pub(super) fn write(&self, path: &Path) -> Result<(), SavedError> {
        self.write_aside(path).map_err(SavedError::Unwritable)
    }

    fn write_aside(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let aside = aside(path);
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        let mut out = Summing { inner: BufWriter::new(file), sum: crc32fast::Hasher::new() };
        out.line(&self.head)?;
        for (part, key, entry) in &self.entries {
            let objects = entry.objects.iter().filter_map(|object| list::write(object, entry.owner.as_ref()));
            out.line(&Line {
                part: part.kind().name().to_owned(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                uid: entry.uid.clone(),
                objects: objects.collect(),
                trouble: entry.trouble.clone(),
            })?;
        }
        let end = End { end: self.entries.len(), crc32: out.sum.clone().finalize() };
        out.line(&end)?;
        let file = out.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(dir)?.sync_all()
    }
}

/// Writes lines and sums up what they are.
struct Summing {
    inner: BufWriter<File>,
    sum: crc32fast::Hasher,
}

impl Summing {
    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(value)?;
        text.push(b'\n');
        self.sum.update(&text);
        self.inner.write_all(&text)
    }
}

/// Reads what is at `path`, if it was read from `server`. Whole, or not at all.
pub(super) fn read(path: &Path, server: &str) -> Result<(Head, Store), SavedError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => SavedError::Missing,
        _ => SavedError::Unreadable(error),
    })?;
    let mut lines =
        Lines { inner: BufReader::new(file), sum: crc32fast::Hasher::new(), number: 0, text: Vec::new() };
    let first = lines.next()?;
    let version: Result<u32, _> = serde_json::from_slice(first)
        .map(|head: Json| head["podgate_objects"].as_u64().unwrap_or_default() as u32);
    let head = match version {
        Ok(VERSION) => serde_json::from_slice::<Head>(first),
        Ok(found) if found > 0 => return Err(SavedError::OtherVersion { found }),
        _ => return Err(lines.damaged(&"it does not begin as one")),
    };
    let head = head.map_err(|error| lines.damaged(&error))?;
    if head.server != server {
        return Err(SavedError::OtherServer { found: head.server, wanted: server.to_owned() });
    }
    let mut store = Store::default();
    for count in 0.. {
        let sum = lines.sum.clone().finalize();
        let text = lines.next()?;
        if text.starts_with(b"{\"end\"") {
            let end: End = serde_json::from_slice(text).map_err(|error| lines.damaged(&error))?;
            if (end.end, end.crc32) != (count, sum) {
                return Err(lines.damaged(&"the checksum is another"));
            }
            return Ok((head, store));
        }
        let (part, key, entry) = entry(text).map_err(|reason| lines.damaged(&reason))?;
        store.restore(part, &key, entry);
    }
    unreachable!("the loop ends with the file")
}

fn entry(text: &[u8]) -> Result<(Part, ObjectKey, Entry), String> {
    let line: Line = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let kind = Kind::from_name(&line.part).ok_or_else(|| format!("unknown kind {:?}", line.part))?;
    let (mut objects, mut controller) = (Vec::new(), None);
    for object in line.objects {
        let Judged { objects: read, owner, problems } = read_object(kind, &tree(object));
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem);
        }
        objects.extend(read);
        controller = controller.or(owner);
    }
    let key = ObjectKey::new(line.namespace, line.name);
    let entry = Entry { uid: line.uid, version: None, objects, owner: controller, trouble: line.trouble };
    Ok((kind.part(), key, entry))
}

struct Lines {
    inner: BufReader<File>,
    /// Of all lines so far.
    sum: crc32fast::Hasher,
    number: usize,
    text: Vec<u8>,
}

impl Lines {
    fn next(&mut self) -> Result<&[u8], SavedError> {
        self.text.clear();
        self.number += 1;
        self.inner.read_until(b'\n', &mut self.text).map_err(SavedError::Unreadable)?;
        if self.text.last() != Some(&b'\n') {
            return Err(self.damaged(&"it ends too early"));
        }
        self.sum.update(&self.text);
        Ok(&self.text)
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> SavedError {
        SavedError::Damaged { line: self.number, reason: reason.to_string() }
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Which boot of the machine this is; empty where the kernel does not say.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
