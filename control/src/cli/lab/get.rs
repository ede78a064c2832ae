//! `podgate lab get`: what is in force in a lab.

use std::io::Write;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::kind::Kind;
use super::{LabName, Outcome, block_on, table};
use crate::lab::Lab;

/// Show pods, Services, policies or namespaces, as they are in force.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  podgate lab get pods -A --show-labels\n  podgate lab get svc web -n shop -o yaml"
)]
pub(super) struct GetArgs {
    #[command(flatten)]
    lab: LabName,
    /// What: pods, svc, networkpolicies, ns.
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
    let (word, name) = match args.kind.split_once('/') {
        Some((kind, name)) => (kind, Some(name)),
        None => (args.kind.as_str(), args.object.as_deref()),
    };
    let kind = Kind::meant_by(word)?;
    let namespace = (!args.all_namespaces && !matches!(kind.name, "Namespace" | "Node"))
        .then_some(args.namespace.as_str());
    let items = objects(&args.lab, kind, namespace, name)?;
    if let (Some(name), true) = (name, items.is_empty()) {
        return Err(anyhow!("{} {name} not found", kind.name).into());
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Table | Output::Wide if items.is_empty() => {
            let place = namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
            eprintln!("there are none{place}");
        }
        Output::Table | Output::Wide => out.write_all(rows(kind, &items, args.show_labels).as_bytes())?,
        Output::Json | Output::Yaml => {
            let answer = match (name, items.as_slice()) {
                (Some(_), [item]) => item.clone(),
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
    let kind = Kind::meant_by("services")?;
    let items = objects(&args.lab, kind, None, None)?;
    std::io::stdout().lock().write_all(rows(kind, &items, false).as_bytes())?;
    Ok(())
}

fn objects(
    lab: &LabName,
    kind: Kind,
    namespace: Option<&str>,
    name: Option<&str>,
) -> anyhow::Result<Vec<Value>> {
    let lab = Lab::open(&lab.chosen()?)?;
    let told = block_on(lab.client().in_force())??;
    for why in &told.held_back {
        eprintln!("note: not in force: {why}");
    }
    let Value::Array(mut items) = told.objects["items"].clone() else { return Ok(Vec::new()) };
    items.retain(|item| {
        let metadata = &item["metadata"];
        item["kind"] == kind.name
            && namespace.is_none_or(|namespace| metadata["namespace"] == namespace)
            && name.is_none_or(|name| metadata["name"] == name)
    });
    Ok(items)
}

fn rows(kind: Kind, items: &[Value], show_labels: bool) -> String {
    let mut head: Vec<&str> = match kind.name {
        "Pod" => vec!["NAMESPACE", "NAME", "IP", "PORTS"],
        "Service" => vec!["NAMESPACE", "NAME", "CLUSTER-IP", "PORTS"],
        "NetworkPolicy" => vec!["NAMESPACE", "NAME", "POD-SELECTOR", "TYPES"],
        "Namespace" | "Node" => vec!["NAME"],
        _ => vec!["NAMESPACE", "NAME"],
    };
    if show_labels {
        head.push("LABELS");
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let (metadata, spec) = (&item["metadata"], &item["spec"]);
            let mut row = vec![text(&metadata["namespace"]), text(&metadata["name"])];
            match kind.name {
                "Pod" => {
                    row.push(each(&item["status"]["podIPs"], |ip| text(&ip["ip"])));
                    row.push(each(&spec["containers"][0]["ports"], |port| {
                        format!("{}/{}", port["containerPort"], text(&port["protocol"]))
                    }));
                }
                "Service" => {
                    row.push(match (&spec["clusterIPs"], spec["clusterIP"].as_str()) {
                        (Value::Array(all), _) if !all.is_empty() => each(&spec["clusterIPs"], text),
                        (_, Some(none)) => none.to_owned(),
                        _ => text(&spec["externalName"]),
                    });
                    row.push(each(&spec["ports"], |port| {
                        format!("{}/{}", port["port"], text(&port["protocol"]))
                    }));
                }
                "NetworkPolicy" => {
                    row.push(selector(&spec["podSelector"]));
                    row.push(each(&spec["policyTypes"], text));
                }
                "Namespace" | "Node" => {
                    row.remove(0);
                }
                _ => {}
            }
            if show_labels {
                row.push(pairs(&metadata["labels"]).unwrap_or_else(|| "<none>".to_owned()));
            }
            row
        })
        .collect();
    table::render_columns(&head, &rows)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn each(list: &Value, show: impl Fn(&Value) -> String) -> String {
    let shown: Vec<String> = list.as_array().into_iter().flatten().map(show).collect();
    if shown.is_empty() { "<none>".to_owned() } else { shown.join(",") }
}

fn pairs(map: &Value) -> Option<String> {
    let map = map.as_object().filter(|map| !map.is_empty())?;
    Some(map.iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(","))
}

/// As kubectl writes selectors: `app=web,tier in (a,b)`.
fn selector(selector: &Value) -> String {
    let mut parts: Vec<String> = pairs(&selector["matchLabels"]).into_iter().collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(&expression["key"]);
        let values = || {
            let all: Vec<String> = expression["values"].as_array().into_iter().flatten().map(text).collect();
            all.join(",")
        };
        parts.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values()),
            Some("NotIn") => format!("{key} notin ({})", values()),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key,
        });
    }
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}
