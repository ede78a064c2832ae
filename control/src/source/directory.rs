//! Paths to a cluster: everything read, duplicates found.

use std::collections::{BTreeMap, HashMap};
use std::io::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::cache::Cache;
use super::document::{Spot, documents};
use super::files::{self, Held, Text, Texts};
use super::made::put_pods;
use super::manifest::{How, Object, read_document};
use super::syntax::Strictness;
use super::trace::{Trace, Traced, Untraced};
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

/// What there was when last looked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// `None` if it could not be read.
    texts: Option<Texts>,
    cache: Cache,
    held: Held,
}

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
        self.assemble(&self.texts_now()?, &mut Cache::default(), None)
    }

    /// As [`Directory::load`], and keeps the texts and where in them everything stands: for tools
    /// that point at lines.
    pub fn load_traced(&self) -> Result<(Loaded, Traced), Untraced> {
        let texts = self.texts_now().map_err(|errors| Untraced { errors, texts: Vec::new() })?;
        let mut traced = Traced::new(&texts);
        match self.assemble(&texts, &mut Cache::default(), Some(&mut traced)) {
            Ok(loaded) => Ok((loaded, traced)),
            Err(errors) => Err(Untraced { errors, texts: traced.into_texts() }),
        }
    }

    /// As [`Directory::load`], but `None` if every file is as it was when `seen` was last set. What
    /// `seen` has of files and documents that are as they were is not read again.
    pub(super) fn load_changed(
        &self,
        seen: &mut Seen,
        now: SystemTime,
    ) -> Option<Result<Loaded, Vec<SourceError>>> {
        match self.texts(&mut seen.held, now) {
            Ok(texts) if seen.texts.as_ref() == Some(&texts) => None,
            Ok(texts) => {
                let loaded = self.assemble(&texts, &mut seen.cache, None);
                seen.texts = Some(texts);
                Some(loaded)
            }
            Err(errors) => {
                seen.texts = None;
                Some(Err(errors))
            }
        }
    }

    /// Every file and what it holds.
    pub(crate) fn texts_now(&self) -> Result<Texts, Vec<SourceError>> {
        self.texts(&mut Held::default(), SystemTime::UNIX_EPOCH)
    }

    fn texts(&self, held: &mut Held, now: SystemTime) -> Result<Texts, Vec<SourceError>> {
        // First, so that it is read as what it is, even if it lies among the manifests; last, once it is read.
        let mut paths: Vec<PathBuf> = self.overlay_file.iter().cloned().collect();
        paths.extend(self.paths.iter().cloned());
        let texts = files::read(&paths, held, now);
        let mut texts = texts.map_err(|failure| vec![unreadable(failure.path, &failure.error)])?;
        if self.overlay_file.is_some() && !texts.is_empty() {
            texts.rotate_left(1);
        }
        Ok(texts)
    }

    /// What is laid over the manifests, taken from the texts where it is a file, and the manifests.
    fn overlay<'a>(&self, texts: &'a Texts) -> Result<(Overlay, &'a [Text]), SourceError> {
        match texts.split_last() {
            Some(((file, bytes), manifests)) if self.overlay_file.is_some() => match str::from_utf8(bytes) {
                Ok(text) => {
                    let overlay = Overlay::parse(text).map_err(|error| error.in_file(file.clone()))?;
                    Ok((overlay, manifests))
                }
                Err(error) => Err(not_utf8(file.clone(), &bytes[..error.valid_up_to()])),
            },
            _ => Ok((self.overlay.clone(), texts)),
        }
    }

    fn assemble(
        &self,
        texts: &Texts,
        cache: &mut Cache,
        mut traced: Option<&mut Traced>,
    ) -> Result<Loaded, Vec<SourceError>> {
        cache.begin();
        let (overlay, texts) = self.overlay(texts).map_err(|error| vec![error])?;
        let mut cluster = Cluster::new();
        let mut notes = Vec::new();
        let mut errors = Vec::new();
        let mut places: HashMap<String, (Spot<'_>, Option<u64>)> = HashMap::new();
        let mut background = Background::default();
        let mut workloads = Vec::new();
        let how = How { strictness: self.strictness, workloads: self.workloads };
        for (number, (file, bytes)) in texts.iter().enumerate() {
            let text = match str::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => {
                    errors.push(not_utf8(file.clone(), &bytes[..error.valid_up_to()]));
                    continue;
                }
            };
            for (document, position) in documents(text).into_iter().zip(1..) {
                let readings = match &traced {
                    Some(_) => {
                        let trace = Trace { text, document: document.span() };
                        vec![(0, read_document(document.text, how, Some(trace)).into())]
                    }
                    None => cache.read(document.text, how),
                };
                for (lines_before, reading) in readings {
                    let lines_before = document.lines_before + lines_before;
                    let spot = Spot { file, number: position, lines_before };
                    notes.extend(reading.notes.iter().map(|note| spot.of_note(note)));
                    errors.extend(reading.errors.iter().map(|error| spot.of_error(error)));
                    for manifest in &reading.manifests {
                        let title = manifest.object.title();
                        if overlay.covers(&title) {
                            continue;
                        }
                        if let Some((first, line)) = places.get(&title) {
                            let first = first.of(&Place { line: *line, ..manifest.place.clone() });
                            errors.push(SourceError {
                                place: spot.of(&manifest.place),
                                object: Some(title),
                                field: String::new(),
                                problem: Problem::Duplicate { first },
                                span: manifest.origin.as_ref().map(|origin| origin.field("metadata.name")),
                            });
                            continue;
                        }
                        if let (Some(traced), Some(origin)) = (&mut traced, &manifest.origin) {
                            traced.put(&title, number, origin.clone());
                        }
                        places.insert(title, (spot, manifest.place.line));
                        match &manifest.object {
                            Object::Workload(workload) => workloads.push(workload.as_ref().clone()),
                            object => {
                                background.note(object, manifest.owner.as_ref(), || spot.of(&manifest.place));
                                object.clone().put_into(&mut cluster);
                            }
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
                (Object::Workload(workload), _) => workloads.push(workload.as_ref().clone()),
                (object, owner) => {
                    background.note(&object, owner.as_ref(), || manifest.place);
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
        Ok(Loaded { cluster, background, notes, files: texts.len(), revision: overlay.revision })
    }
}

impl Background {
    fn note(&mut self, object: &Object, owner: Option<&Owner>, place: impl FnOnce() -> Place) {
        match (object, owner) {
            (Object::Pod(pod), Some(owner)) => {
                self.owners.insert(pod.key.clone(), owner.clone());
            }
            (Object::NetworkPolicy(policy), _) => {
                self.policies.insert(policy.key.clone(), place());
            }
            _ => {}
        }
    }
}

fn unreadable(file: PathBuf, error: &Error) -> SourceError {
    SourceError {
        place: Place { file, document: None, line: None },
        object: None,
        field: String::new(),
        problem: Problem::Unreadable { reason: error.to_string() },
        span: None,
    }
}

fn not_utf8(file: PathBuf, before: &[u8]) -> SourceError {
    let line = before.split(|byte| *byte == b'\n').count() as u64;
    SourceError {
        place: Place { file, document: None, line: Some(line) },
        object: None,
        field: String::new(),
        problem: Problem::Syntax { reason: "not UTF-8".to_owned() },
        span: None,
    }
}

#[cfg(test)]
mod tests;
