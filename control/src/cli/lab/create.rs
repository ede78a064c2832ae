//! `podgate lab create` and `podgate lab run`: small objects without a manifest.

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::change::{changing, put_all, title_of};
use super::kind::Kind;
use super::{LabName, Outcome};
use crate::source::RawObject;

/// Create a namespace.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate lab create ns dev")]
pub(super) struct CreateArgs {
    #[command(flatten)]
    lab: LabName,
    /// What: ns, or namespace.
    #[arg(value_name = "KIND")]
    kind: String,
    /// Its name.
    #[arg(value_name = "NAME")]
    object: String,
}

/// Create a pod.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate lab run client -n shop --image=any --labels=app=client\n\n\
    The image is not run; with --port the pod answers on it.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    lab: LabName,
    /// The pod's name.
    #[arg(value_name = "POD")]
    pod: String,
    /// Taken note of, not run.
    #[arg(long, default_value = "none", value_name = "IMAGE")]
    image: String,
    /// Its labels; run=POD if none are given.
    #[arg(short, long, value_delimiter = ',', value_name = "KEY=VALUE,...")]
    labels: Vec<String>,
    /// Its namespace.
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// A TCP port on which it answers.
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

pub(super) fn create(args: &CreateArgs) -> Outcome {
    let kind = Kind::meant_by(&args.kind)?;
    if kind.name != "Namespace" {
        let word = &args.kind;
        return Err(
            anyhow!("a lab creates namespaces so; write a manifest of the {word} and apply it").into()
        );
    }
    put_new(
        &args.lab,
        kind,
        None,
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": args.object, "labels": {"kubernetes.io/metadata.name": args.object}},
        }),
    )
}

pub(super) fn run(args: &RunArgs) -> Outcome {
    let mut labels = serde_json::Map::new();
    for label in &args.labels {
        let (key, value) =
            label.split_once('=').ok_or_else(|| anyhow!("{label:?} is no label; write it as KEY=VALUE"))?;
        labels.insert(key.to_owned(), json!(value));
    }
    if labels.is_empty() {
        labels.insert("run".to_owned(), json!(args.pod));
    }
    let ports: Vec<Value> = args.port.iter().map(|port| json!({"containerPort": port})).collect();
    let container = json!({"name": args.pod, "image": args.image, "ports": ports});
    put_new(
        &args.lab,
        Kind::meant_by("pod")?,
        Some(&args.namespace),
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": args.pod, "namespace": args.namespace, "labels": labels},
            "spec": {"containers": [container]},
        }),
    )
}

/// Puts an object in a lab that must not have it yet.
fn put_new(lab: &LabName, kind: Kind, namespace: Option<&str>, value: Value) -> Outcome {
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let object = RawObject::of(value).ok_or_else(|| anyhow!("{name:?} is no name"))?;
    changing(lab, |change| {
        let title = title_of(kind, namespace, &name);
        if change.edit.object(&title).is_some() {
            return Err(anyhow!("{title} already exists"));
        }
        Ok(put_all(&mut change.edit, vec![object]))
    })
}
