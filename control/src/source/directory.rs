//! Paths to a cluster: which files, duplicates, retries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use super::manifest::{How, Object, read};
use super::syntax::Strictness;
use super::trace::{Traced, Untraced};
use super::workload::put_pods;
use super::{Note, Overlay, Owner, Place, Problem, SourceError, Workloads};
use crate::model::{Cluster, ObjectKey};

/// Manifests in files and directories.
///
/// A directory is read with all below it: files that end in `.yaml`, `.yml` or `.json`, by name.
/// Names that start with a dot are left out: editors put copies there, and a mounted ConfigMap its
/// older versions. A file that is named itself is read whatever its name.
#[derive(Clone, Debug)]
pub struct Directory {
    paths: Vec<PathBuf>,
    overlay: Overlay,
    overlay_file: Option<PathBuf>,
    strictness: Strictness,
    workloads: Workloads,
}

/// What was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The objects.
    pub cluster: Cluster,
    /// What the manifests tell besides.
    pub background: Background,
    /// What may surprise.
    pub notes: Vec<Note>,
    /// Files that were read.
    pub files: usize,
    /// The revision of the overlay file, if there is one and it has one.
    pub revision: Option<u64>,
}

/// What manifests tell besides policy, for tools and people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Background {
    /// The controllers of pods that have one.
    pub owners: BTreeMap<ObjectKey, Owner>,
    /// Where policies stand.
    pub policies: BTreeMap<ObjectKey, Place>,
}

/// How often a file that vanished while it was read is looked for again, and how long between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(2);
/// Directories inside directories.
const MAX_DEPTH: usize = 32;

impl Directory {
    /// The files and directories at `paths`.
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
            overlay: Overlay::default(),
            overlay_file: None,
            strictness: Strictness::New,
            workloads: Workloads::Ignored,
        }
    }

    /// With addresses for pods whose manifest has none.
    pub fn with_overlay(self, overlay: Overlay) -> Self {
        Self { overlay, ..self }
    }

    /// With a file that gives addresses, and is read anew with the manifests.
    pub fn with_overlay_file(self, file: impl Into<PathBuf>) -> Self {
        Self { overlay_file: Some(file.into()), ..self }
    }

    /// With another judgement of addresses and CIDRs.
    pub fn with_strictness(self, strictness: Strictness) -> Self {
        Self { strictness, ..self }
    }

    /// With something made of workloads.
    pub fn with_workloads(self, workloads: Workloads) -> Self {
        Self { workloads, ..self }
    }

    /// The paths.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The paths and the overlay's file: all that is to be watched.
    pub(super) fn watched(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().chain(&self.overlay_file).map(PathBuf::as_path)
    }

    /// Reads everything as it is now. Either all of it is good, or every error is returned.
    pub fn load(&self) -> Result<Loaded, Vec<SourceError>> {
        self.assemble(self.texts()?, None)
    }

    /// As [`Directory::load`], and keeps the texts and where in them everything stands: for tools
    /// that point at lines.
    pub fn load_traced(&self) -> Result<(Loaded, Traced), Untraced> {
        let texts = self.texts().map_err(|errors| Untraced { errors, texts: Vec::new() })?;
        let mut traced = Traced::new(&texts);
        match self.assemble(texts, Some(&mut traced)) {
            Ok(loaded) => Ok((loaded, traced)),
            Err(errors) => Err(Untraced { errors, texts: traced.into_texts() }),
        }
    }

    /// As [`Directory::load`], but `None` if every file is as it was when `seen` was last set.
    pub(super) fn load_changed(&self, seen: &mut Option<Texts>) -> Option<Result<Loaded, Vec<SourceError>>> {
        match self.texts() {
            Ok(texts) if seen.as_ref() == Some(&texts) => None,
            Ok(texts) => {
                let loaded = self.assemble(texts.clone(), None);
                *seen = Some(texts);
                Some(loaded)
            }
            Err(errors) => {
                *seen = None;
                Some(Err(errors))
            }
        }
    }

    /// Every file and what it holds.
    pub(crate) fn texts(&self) -> Result<Texts, Vec<SourceError>> {
        let mut attempt = 1;
        loop {
            match self.texts_now() {
                Ok(texts) => return Ok(texts),
                // Replaced under our eyes: editors and kubectl rename over, or remove and write.
                Err(failure) if failure.error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => {
                    attempt += 1;
                    thread::sleep(PAUSE);
                }
                Err(failure) => return Err(vec![unreadable(failure.path, &failure.error)]),
            }
        }
    }

    fn texts_now(&self) -> Result<Texts, Failure> {
        let mut files = Vec::new();
        for path in &self.paths {
            collect(path, 0, &mut files)?;
        }
        // Of all files the last, and none of the manifests.
        if let Some(path) = &self.overlay_file {
            files.retain(|file| file != path);
            files.push(path.clone());
        }
        let mut seen = BTreeSet::new();
        let mut texts = Vec::new();
        for file in files {
            // The same file may be reached by two of the paths, or through a link.
            let real = fs::canonicalize(&file).map_err(at(&file))?;
            if seen.insert(real) {
                let text = fs::read(&file).map_err(at(&file))?;
                texts.push((file, text.into()));
            }
        }
        Ok(texts)
    }

    /// What is laid over the manifests, taken from the texts where it is a file.
    fn overlay(&self, texts: &mut Texts) -> Result<Overlay, SourceError> {
        if self.overlay_file.is_none() {
            return Ok(self.overlay.clone());
        }
        let Some((file, bytes)) = texts.pop() else { return Ok(Overlay::default()) };
        match str::from_utf8(&bytes) {
            Ok(text) => Overlay::parse(text).map_err(|error| error.in_file(file)),
            Err(error) => Err(not_utf8(file, &bytes[..error.valid_up_to()])),
        }
    }

    fn assemble(
        &self,
        mut texts: Texts,
        mut traced: Option<&mut Traced>,
    ) -> Result<Loaded, Vec<SourceError>> {
        let overlay = self.overlay(&mut texts).map_err(|error| vec![error])?;
        let files = texts.len();
        let mut cluster = Cluster::new();
        let mut notes = Vec::new();
        let mut errors = Vec::new();
        let mut places: HashMap<String, Place> = HashMap::new();
        let mut background = Background::default();
        let mut workloads = Vec::new();
        let how = How { strictness: self.strictness, traced: traced.is_some(), workloads: self.workloads };
        for (number, (file, bytes)) in texts.into_iter().enumerate() {
            let text = match str::from_utf8(&bytes) {
                Ok(text) => text,
                Err(error) => {
                    errors.push(not_utf8(file, &bytes[..error.valid_up_to()]));
                    continue;
                }
            };
            let reading = read(text, &file, how);
            notes.extend(reading.notes);
            errors.extend(reading.errors);
            for manifest in reading.manifests {
                let title = manifest.object.title();
                if overlay.covers(&title) {
                    continue;
                }
                if let Some(first) = places.get(&title) {
                    errors.push(SourceError {
                        place: manifest.place,
                        object: Some(title),
                        field: String::new(),
                        problem: Problem::Duplicate { first: first.clone() },
                    });
                } else {
                    if let (Some(traced), Some(origin)) = (&mut traced, manifest.origin) {
                        traced.put(&title, number, origin);
                    }
                    places.insert(title, manifest.place.clone());
                    match (manifest.object, manifest.owner) {
                        (Object::Workload(workload), _) => workloads.push(workload),
                        (object, owner) => {
                            background.note(&object, owner, manifest.place);
                            object.put_into(&mut cluster);
                        }
                    }
                }
            }
        }
        let file = self.overlay_file.as_deref().unwrap_or(Path::new("overlay"));
        let (over, mistakes) = overlay.manifests(file, how);
        errors.extend(mistakes);
        for manifest in over {
            match (manifest.object, manifest.owner) {
                (Object::Workload(workload), _) => workloads.push(workload),
                (object, owner) => {
                    background.note(&object, owner, manifest.place);
                    object.put_into(&mut cluster);
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let at_least_one = self.workloads == Workloads::AtLeastOne;
        for made in put_pods(workloads, at_least_one, &mut cluster, &mut background.owners) {
            if let Some(traced) = &mut traced {
                made.pods.iter().for_each(|pod| traced.put_like(&format!("Pod {pod}"), &made.workload));
            }
            notes.push(Note::Workload { workload: made.workload, pods: made.pods });
        }
        notes.extend(
            cluster.implied_namespaces().map(|name| Note::ImpliedNamespace { name: name.to_owned() }),
        );
        overlay.apply(&mut cluster);
        Ok(Loaded { cluster, background, notes, files, revision: overlay.revision })
    }
}

impl Background {
    fn note(&mut self, object: &Object, owner: Option<Owner>, place: Place) {
        match (object, owner) {
            (Object::Pod(pod), Some(owner)) => {
                self.owners.insert(pod.key.clone(), owner);
            }
            (Object::NetworkPolicy(policy), _) => {
                self.policies.insert(policy.key.clone(), place);
            }
            _ => {}
        }
    }
}

/// Files and what they hold, in reading order.
pub(crate) type Texts = Vec<(PathBuf, Arc<[u8]>)>;

struct Failure {
    path: PathBuf,
    error: Error,
}

fn at(path: &Path) -> impl Fn(Error) -> Failure {
    move |error| Failure { path: path.to_owned(), error }
}

/// Appends the files at `path` that are to be read.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let wanted = depth == 0 || is_manifest(path);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            if wanted {
                files.push(path.to_owned());
            }
            return Ok(());
        }
        // A link that leads nowhere and would not be read anyway.
        Err(error) if error.kind() == ErrorKind::NotFound && !wanted => return Ok(()),
        Err(error) => return Err(at(path)(error)),
    }
    if depth == MAX_DEPTH {
        let error = Error::other(format!("more than {MAX_DEPTH} directories deep; is it a loop of links?"));
        return Err(at(path)(error));
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        entries.push(entry.map_err(at(path))?.path());
    }
    entries.sort();
    for entry in entries.iter().filter(|entry| !is_hidden(entry)) {
        collect(entry, depth + 1, files)?;
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a file in a directory is read.
fn is_manifest(path: &Path) -> bool {
    !is_hidden(path)
        && path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn unreadable(file: PathBuf, error: &Error) -> SourceError {
    SourceError {
        place: Place { file, document: None, line: None },
        object: None,
        field: String::new(),
        problem: Problem::Unreadable { reason: error.to_string() },
    }
}

fn not_utf8(file: PathBuf, before: &[u8]) -> SourceError {
    let line = before.split(|byte| *byte == b'\n').count() as u64;
    SourceError {
        place: Place { file, document: None, line: Some(line) },
        object: None,
        field: String::new(),
        problem: Problem::Syntax { reason: "not UTF-8".to_owned() },
    }
}
