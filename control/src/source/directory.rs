//! Paths to a cluster: everything read, duplicates found.

use std::collections::HashMap;
use std::io::Error;
use std::path::PathBuf;
use std::time::SystemTime;

use super::cache::Cache;
use super::document::{Spot, documents};
use super::files::{self, Held, Texts};
use super::manifest::read_document;
use super::syntax::Strictness;
use super::trace::{Trace, Traced, Untraced};
use super::{Note, Overlay, Place, Problem, SourceError};
use crate::model::Cluster;

/// Manifests in files and directories.
///
/// A directory is read with all below it: files that end in `.yaml`, `.yml` or `.json`, by name.
/// Names that start with a dot are left out: editors put copies there, and a mounted ConfigMap its
/// older versions. A file that is named itself is read whatever its name.
#[derive(Clone, Debug)]
pub struct Directory {
    paths: Vec<PathBuf>,
    overlay: Overlay,
    strictness: Strictness,
}

/// What was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The objects.
    pub cluster: Cluster,
    /// What may surprise.
    pub notes: Vec<Note>,
    /// Files that were read.
    pub files: usize,
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
            strictness: Strictness::New,
        }
    }

    /// With addresses for pods whose manifest has none.
    pub fn with_overlay(self, overlay: Overlay) -> Self {
        Self { overlay, ..self }
    }

    /// With another judgement of addresses and CIDRs.
    pub fn with_strictness(self, strictness: Strictness) -> Self {
        Self { strictness, ..self }
    }

    /// The paths.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
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

    fn texts_now(&self) -> Result<Texts, Vec<SourceError>> {
        self.texts(&mut Held::default(), SystemTime::UNIX_EPOCH)
    }

    fn texts(&self, held: &mut Held, now: SystemTime) -> Result<Texts, Vec<SourceError>> {
        files::read(&self.paths, held, now).map_err(|failure| vec![unreadable(failure.path, &failure.error)])
    }

    fn assemble(
        &self,
        texts: &Texts,
        cache: &mut Cache,
        mut traced: Option<&mut Traced>,
    ) -> Result<Loaded, Vec<SourceError>> {
        cache.begin();
        let mut cluster = Cluster::new();
        let mut notes = Vec::new();
        let mut errors = Vec::new();
        let mut places: HashMap<String, (Spot<'_>, Option<u64>)> = HashMap::new();
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
                        vec![(0, read_document(document.text, self.strictness, Some(trace)).into())]
                    }
                    None => cache.read(document.text, self.strictness),
                };
                for (lines_before, reading) in readings {
                    let lines_before = document.lines_before + lines_before;
                    let spot = Spot { file, number: position, lines_before };
                    notes.extend(reading.notes.iter().map(|note| spot.of_note(note)));
                    errors.extend(reading.errors.iter().map(|error| spot.of_error(error)));
                    for manifest in &reading.manifests {
                        let title = manifest.object.title();
                        if let Some((first, line)) = places.get(&title) {
                            let first = first.of(&Place { line: *line, ..manifest.place.clone() });
                            errors.push(SourceError {
                                place: spot.of(&manifest.place),
                                object: Some(title),
                                field: String::new(),
                                problem: Problem::Duplicate { first },
                            });
                            continue;
                        }
                        if let (Some(traced), Some(origin)) = (&mut traced, &manifest.origin) {
                            traced.put(&title, number, origin.clone());
                        }
                        places.insert(title, (spot, manifest.place.line));
                        manifest.object.clone().put_into(&mut cluster);
                    }
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        notes.extend(
            cluster.implied_namespaces().map(|name| Note::ImpliedNamespace { name: name.to_owned() }),
        );
        self.overlay.apply(&mut cluster);
        Ok(Loaded { cluster, notes, files: texts.len() })
    }
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

#[cfg(test)]
mod tests;
