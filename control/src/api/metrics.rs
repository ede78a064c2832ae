//! Measures as Prometheus and OpenMetrics read them.
//!
//! No label here has values that pods, policies or addresses could make more of: a pod's own numbers are
//! in `podgate status`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder, NoLabelSet,
    prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{Direction, Distribution, FenceStatus, Measures, WorkerMeasures};

/// A form of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exposition {
    /// Version 0.0.4, which everything reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// What a client that accepts this is given.
    pub fn for_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// As a header says it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// `measures` as text.
    pub fn write(self, measures: Measures) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(measures)));
        let mut written = String::with_capacity(1 << 14);
        match self {
            Self::Prometheus => prometheus_text::encode(&mut written, &registry)?,
            Self::OpenMetrics => text::encode(&mut written, &registry)?,
        }
        Ok(written)
    }
}

#[derive(Debug)]
struct Scrape(Measures);

/// Labels, all of them words of the program's own or numbers of its workers.
struct Labels<'a>(&'a [(&'static str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|pair| {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            prometheus_client::encoding::EncodeLabelKey::encode(&pair.0, &mut key)?;
            let mut value = key.encode_label_value()?;
            prometheus_client::encoding::EncodeLabelValue::encode(&pair.1, &mut value)?;
            value.finish()
        })
    }
}

/// A family that is being written. Counters are named without `_total`, which the encoder adds.
struct Family<'a> {
    encoder: MetricEncoder<'a>,
}

impl Family<'_> {
    fn count(&mut self, labels: &[(&'static str, &str)], count: u64) -> fmt::Result {
        ConstCounter::new(count).encode(self.encoder.encode_family(&Labels(labels))?)
    }

    fn gauge(&mut self, labels: &[(&'static str, &str)], value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.encoder.encode_family(&Labels(labels))?)
    }
}

/// The families, one after the other.
struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Families<'_> {
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        write(&mut Family { encoder })
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        write(&mut Family { encoder })
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(encoder)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn histogram(&mut self, name: &str, help: &str, found: &Distribution) -> fmt::Result {
        let mut encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let count = found.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(found.sum_seconds, count, &found.buckets, None)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families { encoder };
        let measures = &self.0;
        about(measures, &mut out)?;
        frames(measures, &mut out)?;
        policy(measures, &mut out)?;
        fence(measures.fence.as_ref(), &mut out)?;
        flows(measures, &mut out)?;
        workers(&measures.workers, &mut out)?;
        process(measures, &mut out)
    }
}

fn about(measures: &Measures, out: &mut Families<'_>) -> fmt::Result {
    out.gauges("podgate_build_info", "Always 1; the labels say which podgate this is.", |family| {
        family.gauge(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)
    })?;
    out.gauge("podgate_ready", "Whether /readyz says that the gateway is ready.", flag(measures.ready))?;
    let source = &measures.source;
    let kind = [("kind", source.kind.word())];
    out.gauges(
        "podgate_source_synced",
        "Whether the policy in force is what its source says now; the last good one is in force otherwise.",
        |family| family.gauge(&kind, flag(source.synced)),
    )?;
    if let Some(seconds) = source.last_contact_seconds {
        out.gauges(
            "podgate_source_last_contact_age_seconds",
            "Seconds since the source was last heard of.",
            |family| family.gauge(&kind, seconds),
        )?;
    }
    out.gauges("podgate_alarms", "Standing alarms, by what they are about.", |family| {
        let mut alarms = measures.alarms.iter();
        alarms.try_for_each(|(about, count)| family.gauge(&[("subject", about)], *count as f64))
    })
}

fn frames(measures: &Measures, out: &mut Families<'_>) -> fmt::Result {
    out.counters(
        "podgate_drop_packets",
        "Frames dropped, by reason and by where they were taken up.",
        |family| {
            measures.drops.iter().try_for_each(|((reason, direction), count)| {
                family.count(&[("reason", reason), ("direction", direction.word())], *count)
            })
        },
    )?;
    let by_direction = |family: &mut Family<'_>, of: fn(&(u64, u64)) -> u64| {
        let mut forwarded = measures.forwarded.iter();
        forwarded.try_for_each(|(way, traffic)| family.count(&[("direction", way.word())], of(traffic)))
    };
    out.counters("podgate_forwarded_packets", "Frames that went on.", |family| {
        by_direction(family, |(packets, _)| *packets)
    })?;
    out.counters("podgate_forwarded_bytes", "Bytes of the frames that went on.", |family| {
        by_direction(family, |(_, bytes)| *bytes)
    })?;
    out.counters(
        "podgate_steered_packets",
        "Frames that the steering programs lifted to the workers, delivered from them, or passed unfiltered because \
         no worker lived and the fallback is open.",
        |family| {
            family.count(&[("way", "lifted")], measures.lifted)?;
            family.count(&[("way", "delivered")], measures.delivered)?;
            family.count(&[("way", "passed-open")], measures.passed_open)
        },
    )?;
    out.histogram(
        "podgate_residence_seconds",
        "How long frames stayed with a worker, from the start of its turn to their being handed on; one batch in 16 \
         is timed.",
        &measures.residence,
    )?;
    out.counter(
        "podgate_events_lost",
        "Events that were lost because nobody took them in time.",
        measures.events_lost,
    )
}

fn policy(measures: &Measures, out: &mut Families<'_>) -> fmt::Result {
    out.gauges("podgate_ports", "Guarded devices, by whether their pod is known.", |family| {
        family.gauge(&[("pod", "known")], measures.ports[0] as f64)?;
        family.gauge(&[("pod", "unknown")], measures.ports[1] as f64)
    })?;
    if let Some((epoch, age)) = measures.snapshot {
        out.gauge("podgate_snapshot_epoch", "Number of the snapshot in force.", f64::from(epoch))?;
        out.gauge("podgate_snapshot_age_seconds", "Seconds since it was put in force.", age)?;
    }
    out.gauge("podgate_policies", "Policies in force.", measures.policies as f64)?;
    out.gauge("podgate_endpoints", "Endpoints known.", measures.endpoints as f64)?;
    out.gauge(
        "podgate_identities",
        "Kinds of endpoints that policy tells apart.",
        measures.identities as f64,
    )?;
    out.gauge("podgate_policy_table_bytes", "Bytes of the policy table.", measures.table_bytes as f64)?;
    out.histogram(
        "podgate_publish_duration_seconds",
        "From a change being seen to its policy being in force.",
        &measures.publish,
    )?;
    out.histogram(
        "podgate_pod_time_to_policy_seconds",
        "How long new pods were closed until their policy was in force.",
        &measures.pod_starts,
    )
}

fn fence(fence: Option<&FenceStatus>, out: &mut Families<'_>) -> fmt::Result {
    let Some(fence) = fence else { return Ok(()) };
    out.gauge(
        "podgate_fence_whole",
        "Whether the rule that closes new pods until they are guarded is up and as it should be.",
        flag(fence.is_whole),
    )?;
    out.counters(
        "podgate_fence_drop_packets",
        "Frames of and for pods that were not guarded yet, dropped by that rule.",
        |family| {
            family.count(&[("direction", Direction::FromPod.word())], fence.dropped_from_pods)?;
            family.count(&[("direction", Direction::ToPod.word())], fence.dropped_to_pods)
        },
    )?;
    out.counter(
        "podgate_fence_put_back",
        "How many times others had changed or removed that rule and it was put back.",
        fence.put_back,
    )
}

fn flows(measures: &Measures, out: &mut Families<'_>) -> fmt::Result {
    out.gauge("podgate_flows", "Flows tracked.", measures.flows as f64)?;
    out.gauge("podgate_flows_limit", "Flows that can be tracked.", measures.flow_capacity as f64)?;
    let table = &measures.flow_table;
    out.counters("podgate_flow_changes", "What became of flows.", |family| {
        let changes = [
            ("opened", table.opened),
            ("expired", table.expired),
            ("removed", table.removed),
            ("evicted", table.evicted),
            ("reopened", table.reopened),
        ];
        changes.iter().try_for_each(|(change, count)| family.count(&[("change", change)], *count))
    })?;
    out.counters(
        "podgate_flow_refusals",
        "Flows that did not open, by what there was too much of.",
        |family| {
            family.count(&[("limit", "table")], table.full)?;
            family.count(&[("limit", "flows-per-pod")], table.over_flow_quota)?;
            family.count(&[("limit", "half-open-per-pod")], table.over_half_open_quota)
        },
    )?;
    out.counters("podgate_flows_rejudged", "Live flows judged again after changes of policy.", |family| {
        family.count(&[("outcome", "kept")], measures.rejudged[0])?;
        family.count(&[("outcome", "cut")], measures.rejudged[1])
    })?;
    let fragments = &table.fragments;
    out.counters("podgate_fragmented_datagrams", "What became of fragmented datagrams.", |family| {
        let outcomes = [
            ("recorded", fragments.recorded),
            ("completed", fragments.completed),
            ("overlapping", fragments.overlapping),
            ("evicted", fragments.evicted),
            ("over-quota", fragments.over_quota),
        ];
        outcomes.iter().try_for_each(|(outcome, count)| family.count(&[("outcome", outcome)], *count))
    })
}

fn workers(workers: &[WorkerMeasures], out: &mut Families<'_>) -> fmt::Result {
    let numbers: Vec<String> = (0..workers.len()).map(|number| number.to_string()).collect();
    let all = || numbers.iter().map(String::as_str).zip(workers);
    out.gauges(
        "podgate_worker_alive",
        "Whether the worker has shown life within half a second.",
        |family| {
            all().try_for_each(|(number, worker)| family.gauge(&[("worker", number)], flag(worker.alive)))
        },
    )?;
    out.gauges(
        "podgate_worker_heartbeat_age_seconds",
        "Seconds since the worker has shown life.",
        |family| {
            all().try_for_each(|(number, worker)| {
                family.gauge(&[("worker", number)], worker.heartbeat_age_seconds)
            })
        },
    )?;
    let mut counted = |name, help, of: fn(&WorkerMeasures) -> u64| {
        out.counters(name, help, |family| {
            all().try_for_each(|(number, worker)| family.count(&[("worker", number)], of(worker)))
        })
    };
    counted("podgate_worker_received_packets", "Frames the worker received.", |worker| worker.received)?;
    counted("podgate_worker_batches", "Batches the worker received.", |worker| worker.batches)?;
    counted("podgate_worker_waits", "Times the worker slept for want of frames.", |worker| worker.waits)?;
    out.counters(
        "podgate_ring_drop_packets",
        "Frames lost at a worker's rings; a refused one is among podgate_drop_packets_total as tx-full too.",
        |family| {
            all().try_for_each(|(number, worker)| {
                let mut drops = worker.ring_drops.iter();
                drops
                    .try_for_each(|(ring, count)| family.count(&[("worker", number), ("ring", ring)], *count))
            })
        },
    )?;
    out.gauges(
        "podgate_umem_leaked_frames",
        "Frames of the worker's memory that are nowhere: always 0.",
        |family| {
            all().try_for_each(|(number, worker)| family.gauge(&[("worker", number)], worker.leaked as f64))
        },
    )
}

/// Under the names that every exporter uses.
fn process(measures: &Measures, out: &mut Families<'_>) -> fmt::Result {
    out.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        measures.start_time_seconds,
    )?;
    let Some(process) = measures.process else { return Ok(()) };
    let encoder = &mut out.encoder;
    let cpu = ConstCounter::new(process.cpu_seconds);
    let help = "Seconds of CPU that the process has used.";
    cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)?;
    out.gauge(
        "process_resident_memory_bytes",
        "Bytes of the process in memory, rings and flow table included.",
        process.resident_bytes as f64,
    )?;
    out.gauge("process_open_fds", "Open file descriptors.", process.open_fds as f64)
}

const fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests;
