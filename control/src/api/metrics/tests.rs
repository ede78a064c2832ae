//! What promtool would say of the metrics, and whether the guide tells of every one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::*;
use crate::api::{Direction, FenceStatus, FlowTableStatus, ProcessMeasures, SourceState};
use crate::source::SourceKind;

fn measures() -> Measures {
    let found = Distribution { buckets: vec![(0.001, 3), (0.5, 2), (f64::INFINITY, 1)], sum_seconds: 7.25 };
    let worker = WorkerMeasures {
        alive: true,
        heartbeat_age_seconds: 0.02,
        ring_drops: [("rx-dropped", 1), ("rx-full", 2), ("fill-empty", 3), ("tx-refused", 4)],
        ..WorkerMeasures::default()
    };
    Measures {
        start_time_seconds: 1.7e9,
        ready: true,
        drops: [
            (("policy-ingress", Direction::ToPod), 5),
            (("policy-ingress", Direction::FromPod), 0),
            (("no-worker", Direction::Unknown), 1),
        ]
        .into(),
        forwarded: [(Direction::FromPod, (10, 640)), (Direction::ToPod, (9, 600))].into(),
        lifted: 20,
        delivered: 19,
        passed_open: 0,
        ports: [4, 1],
        snapshot: Some((7, 12.5)),
        policies: 3,
        endpoints: 9,
        identities: 5,
        table_bytes: 4096,
        publish: found.clone(),
        pod_starts: found.clone(),
        residence: found,
        flows: 11,
        flow_capacity: 1000,
        flow_table: FlowTableStatus { opened: 12, full: 1, ..FlowTableStatus::default() },
        rejudged: [8, 2],
        fence: Some(FenceStatus { is_whole: true, dropped_from_pods: 3, ..FenceStatus::default() }),
        events_lost: 0,
        workers: vec![worker.clone(), worker],
        alarms: [("manifests", 0), ("ports", 2)].into(),
        source: SourceState {
            kind: SourceKind::Kubernetes,
            synced: true,
            last_contact_seconds: Some(1.5),
            told: None,
        },
        process: Some(ProcessMeasures { cpu_seconds: 1.25, resident_bytes: 1 << 20, open_fds: 30 }),
    }
}

/// A family as text tells it.
#[derive(Debug, Default)]
struct Told {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
    /// Labels to value, of every series.
    series: BTreeMap<String, f64>,
}

/// What a reader of version 0.0.4 finds, by family.
fn read(text: &str) -> BTreeMap<String, Told> {
    let mut families: BTreeMap<String, Told> = BTreeMap::new();
    for line in text.lines() {
        let told = |families: &mut BTreeMap<String, Told>, rest: &str, set: fn(&mut Told, &str)| {
            let (name, value) = rest.split_once(' ').unwrap();
            set(families.entry(name.to_owned()).or_default(), value);
        };
        if let Some(rest) = line.strip_prefix("# HELP ") {
            told(&mut families, rest, |told, help| help.clone_into(&mut told.help));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            told(&mut families, rest, |told, kind| kind.clone_into(&mut told.kind));
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series
                .split_once('{')
                .map_or((series, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap()));
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix).filter(|name| families.contains_key(*name)))
                .unwrap_or(name);
            let told =
                families.get_mut(family).unwrap_or_else(|| panic!("{line}: told before its HELP and TYPE"));
            let names = labels.split("\",").filter(|label| !label.is_empty());
            told.labels.extend(names.map(|label| label.split('=').next().unwrap().to_owned()));
            let before = told.series.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "{series} is there twice");
        }
    }
    families
}

/// As `promtool check metrics` and Prometheus' guide to names have it.
#[test]
fn the_metrics_pass_for_well_named() {
    let families = read(&Exposition::Prometheus.write(measures()).unwrap());
    assert!(families.len() > 30, "{}", families.len());
    for (name, told) in &families {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(name.starts_with("podgate_") || name.starts_with("process_"), "{name}");
        assert!(told.help.ends_with('.') && !told.help.ends_with(".."), "{name}: {}", told.help);
        assert_eq!(told.kind == "counter", name.ends_with("_total"), "{name} is a {}", told.kind);
        let words: Vec<&str> = name.split('_').collect();
        let unwanted = [
            "counter",
            "gauge",
            "histogram",
            "summary",
            "count",
            "sum",
            "bucket",
            "milliseconds",
            "ms",
            "microseconds",
            "minutes",
            "hours",
            "kilobytes",
            "megabytes",
            "percent",
            "bits",
        ];
        assert!(!words.iter().any(|word| unwanted.contains(word)), "{name}");
        for label in &told.labels {
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}: {label}");
            assert!(!["job", "instance"].contains(&label.as_str()), "{name}: {label} is the scraper's");
            assert!(label != "le" || told.kind == "histogram", "{name}");
        }
        assert!(!told.series.is_empty(), "{name} says nothing");
        assert!(told.series.values().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn nothing_in_them_grows_with_what_pods_do() {
    let labels = |families: &BTreeMap<String, Told>| -> BTreeSet<String> {
        families.values().flat_map(|told| told.labels.clone()).collect()
    };
    let families = read(&Exposition::Prometheus.write(measures()).unwrap());
    let bounded = [
        "change",
        "direction",
        "kind",
        "le",
        "limit",
        "outcome",
        "pod",
        "reason",
        "ring",
        "subject",
        "version",
        "way",
        "worker",
    ];
    assert!(labels(&families).iter().eq(bounded), "{:?}", labels(&families));
    // `pod` says whether one is known, never which.
    let ports: Vec<_> = families["podgate_ports"].series.keys().collect();
    assert_eq!(ports, ["podgate_ports{pod=\"known\"}", "podgate_ports{pod=\"unknown\"}"]);
}

#[test]
fn values_are_told_as_they_are() {
    let text = Exposition::Prometheus.write(measures()).unwrap();
    for line in [
        "podgate_drop_packets_total{reason=\"policy-ingress\",direction=\"to-pod\"} 5",
        "podgate_drop_packets_total{reason=\"no-worker\",direction=\"unknown\"} 1",
        "podgate_forwarded_bytes_total{direction=\"from-pod\"} 640",
        "podgate_flow_refusals_total{limit=\"table\"} 1",
        "podgate_snapshot_epoch 7.0",
        "podgate_snapshot_age_seconds 12.5",
        "podgate_ring_drop_packets_total{worker=\"1\",ring=\"tx-refused\"} 4",
        "podgate_alarms{subject=\"ports\"} 2.0",
        "podgate_residence_seconds_bucket{le=\"0.001\"} 3",
        "podgate_residence_seconds_bucket{le=\"0.5\"} 5",
        "podgate_residence_seconds_bucket{le=\"+Inf\"} 6",
        "podgate_residence_seconds_count 6",
        "podgate_residence_seconds_sum 7.25",
        "process_cpu_seconds_total 1.25",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
    let open = Exposition::OpenMetrics.write(measures()).unwrap();
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE podgate_drop_packets counter\n"), "{open}");
    assert_eq!(
        Exposition::for_accept("application/openmetrics-text;version=1.0.0,*/*"),
        Exposition::OpenMetrics
    );
    assert_eq!(Exposition::for_accept("*/*"), Exposition::Prometheus);
}

#[test]
fn the_guide_tells_of_every_metric() {
    let families = read(&Exposition::Prometheus.write(measures()).unwrap());
    let rows = families.iter().map(|(name, told)| {
        let labels = told.labels.iter().filter(|label| *label != "le").map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        format!("| `{name}` | {} | {labels} | {} |", told.kind, told.help)
    });
    let rows = rows.collect::<Vec<_>>().join("\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let guide = fs::read_to_string(path).unwrap();
    assert!(guide.contains(&rows), "docs/operations.md should have the rows\n{rows}");
}
