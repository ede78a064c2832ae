//! `podgate lab get`: what is in force in a lab.

use std::io::Write;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::kind::Kind;
use super::rows::rows;
use super::selector::LabelSelector;
use super::shown::Shown;
use super::{LabName, Outcome};
use crate::lab::Lab;

/// Show pods, Services, endpoints, policies or namespaces as they are in force, and the workloads behind them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  podgate lab get pods -A --show-labels\n  podgate lab get pods -n shop -l 'app=web,tier!=db'\n  \
    podgate lab get deploy,svc,endpoints -n shop\n  podgate lab get all -n shop\n  \
    podgate lab get svc web -n shop -o yaml"
)]
pub(super) struct GetArgs {
    #[command(flatten)]
    lab: LabName,
    /// What: pods, svc, endpoints, networkpolicies, ns, deploy, ...; several as pods,svc; or all.
    #[arg(value_name = "KIND")]
    kind: String,
    /// Only that one.
    #[arg(value_name = "OBJECT")]
    object: Option<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only those with such labels: app=web, app!=web, app, !app, 'app in (a,b)', 'app notin (a,b)', several by commas.
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "object")]
    selector: Option<LabelSelector>,
    /// With labels.
    #[arg(long)]
    show_labels: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Show the Services and their addresses.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate lab services")]
pub(super) struct ServicesArgs {
    #[command(flatten)]
    lab: LabName,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For people who want more of it.
    #[value(hide = true)]
    Wide,
    /// For programs.
    Json,
    /// As manifests.
    Yaml,
}

pub(super) fn run(args: &GetArgs) -> Outcome {
    let (words, name) = match args.kind.split_once('/') {
        Some((kind, name)) => (kind, Some(name)),
        None => (args.kind.as_str(), args.object.as_deref()),
    };
    let kinds = Kind::listed(words)?;
    let lab = Lab::open(&args.lab.chosen()?)?;
    let shown = Shown::of(&lab)?;
    let mut found = Vec::new();
    for kind in kinds {
        let mut items = shown.objects(kind);
        let is_anywhere = args.all_namespaces || matches!(kind.name, "Namespace" | "Node");
        items.retain(|item| {
            let metadata = &item["metadata"];
            (is_anywhere || metadata["namespace"] == args.namespace)
                && name.is_none_or(|name| metadata["name"] == name)
                && args.selector.as_ref().is_none_or(|selector| selector.matches(&metadata["labels"]))
        });
        if let (Some(name), true) = (name, items.is_empty()) {
            return Err(anyhow!("{} {name} not found", kind.name).into());
        }
        found.push((kind, items));
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Table | Output::Wide if found.iter().all(|(_, items)| items.is_empty()) => {
            let is_namespaced = found.iter().any(|(kind, _)| !matches!(kind.name, "Namespace" | "Node"));
            let place = if is_namespaced && !args.all_namespaces {
                format!(" in namespace {}", args.namespace)
            } else {
                String::new()
            };
            eprintln!("there are none{place}");
        }
        Output::Table | Output::Wide => {
            let is_mixed = found.len() > 1;
            let tables = found.iter().filter(|(_, items)| !items.is_empty());
            let tables = tables.map(|(kind, items)| rows(*kind, items, args.show_labels, is_mixed));
            out.write_all(tables.collect::<Vec<_>>().join("\n").as_bytes())?;
        }
        Output::Json | Output::Yaml => {
            let mut items: Vec<Value> = found.into_iter().flat_map(|(_, items)| items).collect();
            let answer = match (name, items.len()) {
                (Some(_), 1) => items.remove(0),
                _ => json!({"apiVersion": "v1", "kind": "List", "items": items}),
            };
            if args.output == Output::Json {
                writeln!(out, "{answer:#}")?;
            } else {
                out.write_all(serde_saphyr::to_string(&answer)?.as_bytes())?;
            }
        }
    }
    Ok(())
}

pub(super) fn services(args: &ServicesArgs) -> Outcome {
    let lab = Lab::open(&args.lab.chosen()?)?;
    let kind = Kind::meant_by("services")?;
    let items = Shown::of(&lab)?.objects(kind);
    std::io::stdout().lock().write_all(rows(kind, &items, false, false).as_bytes())?;
    Ok(())
}
