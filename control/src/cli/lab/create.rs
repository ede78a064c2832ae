//! `podgate lab create` and `podgate lab run`: small objects without a manifest.

use std::io::Write;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::change::{changing_told, put_all, title_of};
use super::kind::Kind;
use super::{LabName, Outcome, block_on, run_in};
use crate::lab::{Change, Lab};
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

/// Create a pod, and run a program in it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  podgate lab run client -n shop --image=any --labels=app=client\n  \
    podgate lab run tmp -n shop --rm -it --restart=Never --image=busybox -- wget -qO- -T 1 http://web/\n\n\
    The image is not run; with --port the pod answers on it. With -i, -t or --rm the program is one of this\n\
    machine's (a shell if none is named), run in the pod; with --rm the pod goes when it ends. The exit code\n\
    is the program's.")]
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
    /// Run the program now.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// The same.
    #[arg(short = 't', long)]
    tty: bool,
    /// Run the program now, and delete the pod afterwards.
    #[arg(long)]
    rm: bool,
    /// Ignored: nothing in a lab is started again.
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// The program and its arguments.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
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
        &mut std::io::stdout(),
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
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": args.pod, "namespace": args.namespace, "labels": labels},
        "spec": {"containers": [container]},
    });
    let kind = Kind::meant_by("pod")?;
    if !(args.stdin || args.tty || args.rm) {
        if !args.command.is_empty() {
            eprintln!("note: the command is not run, as the image is not; with -it it would be, in the pod");
        }
        return put_new(&args.lab, &mut std::io::stdout(), kind, Some(&args.namespace), pod);
    }
    // Standard output is the program's.
    put_new(&args.lab, &mut std::io::stderr(), kind, Some(&args.namespace), pod)?;
    let ended = run_now(args);
    if args.rm {
        let title = title_of(kind, Some(&args.namespace), &args.pod);
        let delete = |change: &mut Change<'_>| Ok(vec![(title.clone(), change.edit.delete(&title)?)]);
        changing_told(&args.lab, &mut std::io::stderr(), delete)?;
    }
    ended
}

/// Runs the program in its pod. An interrupt is for the program: the pod still goes when it has ended.
fn run_now(args: &RunArgs) -> Outcome {
    let lab = Lab::open(&args.lab.chosen()?)?;
    let shell = ["sh".to_owned()];
    let words = if args.command.is_empty() { &shell[..] } else { &args.command };
    block_on(async {
        let _not_for_this_program = signal(SignalKind::interrupt()).map_err(anyhow::Error::from)?;
        run_in(&lab, &format!("{}/{}", args.namespace, args.pod), words)
    })?
}

/// Puts an object in a lab that must not have it yet.
fn put_new(lab: &LabName, out: &mut dyn Write, kind: Kind, namespace: Option<&str>, value: Value) -> Outcome {
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let object = RawObject::of(value).ok_or_else(|| anyhow!("{name:?} is no name"))?;
    changing_told(lab, out, |change| {
        let title = title_of(kind, namespace, &name);
        if change.edit.object(&title).is_some() {
            return Err(anyhow!("{title} already exists"));
        }
        Ok(put_all(&mut change.edit, vec![object]))
    })
}
