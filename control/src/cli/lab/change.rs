//! `podgate lab apply`, `delete`, `label`, `scale`, `sync`: a lab that is up is changed.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::json;

use super::input::read_objects;
use super::kind::{Kind, kinds_and_names, shown};
use super::{LabName, Outcome, block_on, failed};
use crate::lab::{Change, Edit, EditError, Edited, Lab};
use crate::model::{Cluster, Labels, ObjectKey};
use crate::source::{LabelChanges, RawObject, is_cluster_wide, read_texts, title};

/// Put objects in a lab that is up; returns when they are in force.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  podgate lab apply -f policy.yaml\n  podgate lab apply -n shop -f - < web.yaml\n\n\
    An applied object takes the place of the one of its kind, namespace and name in the lab's files, as long\n\
    as the lab is up; the files are not written. All that is given is put in force, or nothing is."
)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    lab: LabName,
    /// A file or directory of manifests, or - for standard input; may be given again.
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Take objects out of a lab that is up.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  podgate lab delete -f policy.yaml\n  podgate lab delete networkpolicy deny-all -n shop\n  \
    podgate lab delete deploy/web svc/web -n shop"
)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    lab: LabName,
    /// Kind and names (deploy web api), or each with its kind (deploy/web svc/web).
    #[arg(value_name = "KIND NAME", required_unless_present = "files", conflicts_with = "files")]
    objects: Vec<String>,
    /// Manifests of the objects to take out, or - for standard input; may be given again.
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Their namespace.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// What is not there is no error.
    #[arg(long)]
    ignore_not_found: bool,
}

/// Change labels of pods and namespaces.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  podgate lab label pod web -n shop tier=frontend\n  \
    podgate lab label ns shop team=web --overwrite\n  podgate lab label pod web -n shop tier-\n\n\
    A pod of a Deployment keeps its place in it, whatever its labels: a lab makes no other one for it.")]
pub(super) struct LabelArgs {
    #[command(flatten)]
    lab: LabName,
    /// Kind and name (pod web, ns shop), then the labels: KEY=VALUE sets one, KEY- takes it away.
    #[arg(required = true, value_name = "KIND NAME KEY=VALUE")]
    words: Vec<String>,
    /// The pod's namespace.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Replace labels that have another value.
    #[arg(long)]
    overwrite: bool,
}

/// Let a workload have another number of pods.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate lab scale deploy/web -n shop --replicas 3")]
pub(super) struct ScaleArgs {
    #[command(flatten)]
    lab: LabName,
    /// The workload: deploy/web, or deploy web.
    #[arg(required = true, value_name = "KIND NAME")]
    workload: Vec<String>,
    /// How many pods.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=10_000))]
    replicas: u32,
    /// Its namespace.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Make the pods and Services that are new in the lab's files, and take away those that are gone.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate lab sync\n\n\
    Edited policies and labels are in force without it.")]
pub(super) struct SyncArgs {
    #[command(flatten)]
    lab: LabName,
}

pub(super) fn apply(args: &ApplyArgs) -> Outcome {
    let objects = read_objects(&args.files, args.namespace.as_deref())?;
    if objects.is_empty() {
        return Err(anyhow!("there is nothing in there that a lab has a use for").into());
    }
    changing(&args.lab, |change| Ok(put_all(&mut change.edit, objects)))
}

pub(super) fn delete(args: &DeleteArgs) -> Outcome {
    let titles: Vec<String> = if args.files.is_empty() {
        let named = kinds_and_names(&args.objects)?.into_iter();
        named.map(|(kind, name)| title_of(kind, args.namespace.as_deref(), &name)).collect()
    } else {
        let objects = read_objects(&args.files, args.namespace.as_deref())?;
        objects.iter().map(RawObject::title).collect()
    };
    changing(&args.lab, |change| {
        let mut said = Vec::new();
        for title in titles {
            match delete_one(change, &title) {
                Ok(edited) => said.extend(edited),
                Err(EditError::NotFound { .. }) if args.ignore_not_found => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(said)
    })
}

pub(super) fn label(args: &LabelArgs) -> Outcome {
    let (names, labels): (Vec<String>, Vec<String>) =
        args.words.iter().cloned().partition(|word| !word.contains('=') && !word.ends_with('-'));
    let changes = label_changes(&labels)?;
    let named = kinds_and_names(&names)?;
    changing(&args.lab, |change| {
        let mut said = Vec::new();
        for (kind, name) in named {
            let title = title_of(kind, args.namespace.as_deref(), &name);
            let now = labels_of(&change.loaded.cluster, kind, args.namespace.as_deref(), &name)?;
            let now = now.ok_or_else(|| EditError::NotFound { title: title.clone() })?;
            said.push((title.clone(), change.edit.label(&title, &now, changes.clone(), args.overwrite)?));
        }
        Ok(said)
    })
}

pub(super) fn scale(args: &ScaleArgs) -> Outcome {
    let named = kinds_and_names(&args.workload)?;
    changing(&args.lab, |change| {
        let mut said = Vec::new();
        for (kind, name) in named {
            let title = title_of(kind, args.namespace.as_deref(), &name);
            said.push((title.clone(), change.edit.scale(&title, args.replicas)?));
        }
        Ok(said)
    })
}

pub(super) fn sync(args: &SyncArgs) -> Outcome {
    changing(&args.lab, |_| Ok(Vec::new()))
}

/// Makes a change and tells what became of it, once it is in force.
fn changing(
    lab: &LabName,
    make: impl FnOnce(&mut Change<'_>) -> anyhow::Result<Vec<(String, Edited)>>,
) -> Outcome {
    changing_told(lab, &mut std::io::stdout(), make)
}

/// The same, told there.
pub(super) fn changing_told(
    lab: &LabName,
    out: &mut dyn Write,
    make: impl FnOnce(&mut Change<'_>) -> anyhow::Result<Vec<(String, Edited)>>,
) -> Outcome {
    let lab = Lab::open(&lab.chosen()?)?;
    block_on(async {
        let mut change = lab.change().await.map_err(failed)?;
        let said = make(&mut change)?;
        let changed = change.commit().await.map_err(failed)?;
        for (title, edited) in &said {
            writeln!(out, "{} {}", shown(title), edited.word())?;
        }
        for (pods, word) in [(&changed.came, "came"), (&changed.went, "went")] {
            if !pods.is_empty() {
                writeln!(out, "pods that {word}: {}", pods.join(" "))?;
            }
        }
        match changed.epoch {
            Some(epoch) => {
                writeln!(
                    out,
                    "in force after {:.0} ms (snapshot {epoch})",
                    changed.took.as_secs_f64() * 1e3
                )?;
            }
            None => writeln!(out, "nothing to change")?,
        }
        Ok(())
    })?
}

/// Puts objects in a lab, in their order.
pub(super) fn put_all(edit: &mut Edit, objects: Vec<RawObject>) -> Vec<(String, Edited)> {
    objects.into_iter().map(|object| (object.title(), edit.put(object))).collect()
}

/// The title of an object that is named on the command line.
pub(super) fn title_of(kind: Kind, namespace: Option<&str>, name: &str) -> String {
    let namespace = (!is_cluster_wide(kind.name)).then(|| namespace.unwrap_or("default"));
    title(kind.name, namespace, name)
}

fn delete_one(change: &mut Change<'_>, title: &str) -> Result<Vec<(String, Edited)>, EditError> {
    let mut said = Vec::new();
    if let Some(namespace) = title.strip_prefix("Namespace ") {
        // What is in it goes with it.
        for inside in change.edit.titles_in(namespace) {
            said.push((inside.clone(), change.edit.delete(&inside)?));
        }
        // One that nobody declared is there as long as something is in it.
        if !said.is_empty() && change.edit.object(title).is_none() {
            said.push((title.to_owned(), Edited::Deleted));
            return Ok(said);
        }
    }
    if let (None, Some(key)) = (change.edit.object(title), title.strip_prefix("Pod "))
        && let Some(owner) =
            key.parse().ok().and_then(|key: ObjectKey| change.loaded.background.owners.get(&key))
    {
        let owner = format!("{} {}", owner.kind, owner.name);
        return Err(EditError::Owned { title: title.to_owned(), owner });
    }
    said.push((title.to_owned(), change.edit.delete(title)?));
    Ok(said)
}

/// `KEY=VALUE` and `KEY-`.
fn label_changes(words: &[String]) -> anyhow::Result<LabelChanges> {
    if words.is_empty() {
        bail!("which labels? KEY=VALUE sets one, KEY- takes it away");
    }
    let mut changes = LabelChanges::new();
    for word in words {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (word.trim_end_matches('-'), None),
        };
        if changes.insert(key.to_owned(), value).is_some() {
            bail!("the label {key} is given twice");
        }
    }
    // As the API judges them: read as those of a namespace.
    let labels: Labels =
        changes.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect();
    let probe = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": labels}});
    match read_texts(&[(PathBuf::from("labels"), probe.to_string())]).1.first() {
        Some(error) => Err(anyhow!("{}", error.problem)),
        None => Ok(changes),
    }
}

fn labels_of(
    cluster: &Cluster,
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
) -> anyhow::Result<Option<Labels>> {
    match kind.name {
        "Pod" => {
            let pod = cluster.pods().get(&ObjectKey::new(namespace.unwrap_or("default"), name));
            Ok(pod.map(|pod| pod.labels.clone()))
        }
        "Namespace" => Ok(cluster.namespaces().get(name).map(|namespace| namespace.labels().clone())),
        _ => Err(anyhow!("only labels of pods and namespaces matter to policy; apply other objects anew")),
    }
}
