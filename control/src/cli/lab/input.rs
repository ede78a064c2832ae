//! Manifests that are given on the command line, or on standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::json;

use super::refused;
use crate::cli::Failure;
use crate::source::{Directory, Note, RawObject, SourceError, Untraced, Workloads, raw_objects, read_texts};

/// Every object in files, in order; what is wrong with them is told.
pub(super) fn read_objects(files: &[PathBuf], namespace: Option<&str>) -> Result<Vec<RawObject>, Failure> {
    let mut texts = Vec::new();
    for file in files {
        if file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input")?;
            texts.push((PathBuf::from("standard input"), text));
            continue;
        }
        let found = Directory::new([file]).with_workloads(Workloads::Replicas).texts_now();
        let found = found.map_err(wrong)?;
        for (file, bytes) in found {
            let text = String::from_utf8(bytes.to_vec()).with_context(|| file.display().to_string())?;
            texts.push((file, text));
        }
    }
    let (notes, errors) = read_texts(&texts);
    if !errors.is_empty() {
        return Err(wrong(errors));
    }
    for note in notes.iter().filter(|note| matches!(note, Note::IgnoredKind { .. })) {
        eprintln!("note: {note}");
    }
    let mut objects: Vec<RawObject> = texts.iter().flat_map(|(_, text)| raw_objects(text)).collect();
    if let Some(namespace) = namespace {
        for object in objects.iter_mut().filter(|object| object.namespace.is_some()) {
            let written = object.value["metadata"]["namespace"].as_str();
            if let Some(other) = written.filter(|written| *written != namespace) {
                let title = object.title();
                return Err(
                    anyhow!("{title} is in namespace {other}, and --namespace says {namespace}").into()
                );
            }
            object.value["metadata"]["namespace"] = json!(namespace);
            object.namespace = Some(namespace.to_owned());
        }
    }
    Ok(objects)
}

fn wrong(errors: Vec<SourceError>) -> Failure {
    refused(&Untraced { errors, texts: Vec::new() })
}
