//! Which files there are, and what they hold.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file and what it holds.
pub(crate) type Text = (PathBuf, Arc<[u8]>);

/// Files and what they hold, in reading order.
pub(crate) type Texts = Vec<Text>;

/// A path that cannot be read.
pub(super) struct Failure {
    pub(super) path: PathBuf,
    pub(super) error: Error,
}

/// How often a file that vanished while it was read is looked for again, and how long between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(2);
/// Directories inside directories.
const MAX_DEPTH: usize = 32;

/// A file that changed less than this before it was read may have changed again since, and have the same
/// times: file systems keep them by the tick, the coarsest by two seconds.
const SETTLED: Duration = Duration::from_secs(4);

/// What files held when they were last read; those that had settled by then need not be read again
/// until the system says that something of them has changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(HashMap<OsString, (Stamp, Arc<[u8]>)>);

/// What changes with every change of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether it has been the same for so long that the next change makes another one. One from the
    /// future has not.
    fn is_settled(&self, now: SystemTime) -> bool {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanos) = self.changed;
        let changed = Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0));
        since_epoch.checked_sub(changed).is_some_and(|age| age > SETTLED)
    }
}

/// Reads every file at `paths`, as they are now.
pub(super) fn read(paths: &[PathBuf], held: &mut Held, now: SystemTime) -> Result<Texts, Failure> {
    let mut attempt = 1;
    loop {
        match read_now(paths, held, now) {
            // Replaced under our eyes: editors and kubectl rename over, or remove and write.
            Err(failure) if failure.error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => {
                attempt += 1;
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn read_now(paths: &[PathBuf], held: &mut Held, now: SystemTime) -> Result<Texts, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let real = fs::canonicalize(path).map_err(at(path))?;
        if fs::metadata(path).map_err(at(path))?.is_dir() {
            collect(path, &real, 0, &mut files)?;
        } else {
            files.push(Found { path: path.clone(), real });
        }
    }
    let mut seen = HashSet::with_capacity(files.len());
    let mut texts = Vec::with_capacity(files.len());
    let mut next = HashMap::with_capacity(files.len());
    for Found { path, real } in files {
        // As a string: a path is hashed and compared part by part.
        let real = real.into_os_string();
        // The same file may be reached by two of the paths, or through a link.
        if !seen.insert(real.clone()) {
            continue;
        }
        // Before it is read: what changes in between has another stamp the next time.
        let stamp = Stamp::of(&fs::metadata(&path).map_err(at(&path))?);
        let text = match held.0.get(&real) {
            Some((then, text)) if *then == stamp => Arc::clone(text),
            _ => fs::read(&path).map_err(at(&path))?.into(),
        };
        if stamp.is_settled(now) {
            next.insert(real, (stamp, Arc::clone(&text)));
        }
        texts.push((path, text));
    }
    held.0 = next;
    Ok(texts)
}

/// A file to be read.
struct Found {
    path: PathBuf,
    /// Without links on the way.
    real: PathBuf,
}

/// Appends the files in the directory at `path` that are to be read. To ask the system about every one
/// of them would take longer than to read them: only links are followed.
fn collect(path: &Path, real: &Path, depth: usize, files: &mut Vec<Found>) -> Result<(), Failure> {
    if depth == MAX_DEPTH {
        let error = Error::other(format!("more than {MAX_DEPTH} directories deep; is it a loop of links?"));
        return Err(at(path)(error));
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        let entry = entry.map_err(at(path))?;
        if !is_hidden(&entry.path()) {
            let kind = entry.file_type().map_err(at(&entry.path()))?;
            let name = entry.file_name();
            let real = real.join(&name);
            entries.push((name, Found { path: entry.path(), real }, kind));
        }
    }
    entries.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    for (_, found, kind) in entries {
        let Some((found, is_dir)) = resolve(found, kind)? else { continue };
        if is_dir {
            collect(&found.path, &found.real, depth + 1, files)?;
        } else if is_manifest(&found.path) {
            files.push(found);
        }
    }
    Ok(())
}

/// What an entry of a directory leads to, and whether that is a directory. `None`: a link that leads
/// nowhere and would not be read anyway.
fn resolve(found: Found, kind: FileType) -> Result<Option<(Found, bool)>, Failure> {
    let Found { path, real } = found;
    if !kind.is_symlink() {
        return Ok(Some((Found { path, real }, kind.is_dir())));
    }
    match fs::metadata(&path) {
        Ok(metadata) => {
            let real = fs::canonicalize(&path).map_err(at(&path))?;
            Ok(Some((Found { path, real }, metadata.is_dir())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !is_manifest(&path) => Ok(None),
        Err(error) => Err(at(&path)(error)),
    }
}

fn at(path: &Path) -> impl Fn(Error) -> Failure {
    move |error| Failure { path: path.to_owned(), error }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a file in a directory is read.
fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}
