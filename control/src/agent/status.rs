//! How a gateway is, as of now.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use podgate_dataplane::steer::{Fallback, PortCounts};
use podgate_dataplane::tag::PortId;
use podgate_dataplane::verdict::DropReason;
use podgate_dataplane::worker::{self, Worker};
use podgate_flowtable::Time;

use super::gateway::{Gateway, State, is_alive};
use super::{OnExit, history};
use crate::api::{Compilation, EnforceTimes, PolicyStats, PortStatus, Status, WorkerStatus};
use crate::compile::Limits;

impl Gateway {
    /// How it is, as of now.
    pub fn status(&self) -> Status {
        let now = worker::now();
        let source = self.source_status();
        let state = self.state();
        let options = &self.options;
        let snapshot = state.snapshots.back();
        let mut total = BTreeMap::<String, u64>::new();
        let mut add = |drops: &BTreeMap<String, u64>| {
            for (reason, count) in drops {
                *total.entry(reason.clone()).or_default() += count;
            }
        };
        add(&self.drops_of(&state, None).1);
        let ports: Vec<_> = state
            .ports
            .iter()
            .map(|port| {
                let (steered, drops, forwarded) = {
                    let (steered, drops) = self.drops_of(&state, Some(port.id));
                    let forwarded = self.counters.iter().map(|counters| {
                        let counts = counters.port(Some(port.id));
                        counts.from_pod.packets + counts.to_pod.packets
                    });
                    (steered, drops, forwarded.sum())
                };
                add(&drops);
                let bound = port.enforced.as_ref();
                PortStatus {
                    device: port.device.name.clone(),
                    port: port.id.number(),
                    pod: bound.map(|bound| bound.pod.to_string()),
                    addresses: bound
                        .map(|bound| bound.addresses.iter().map(ToString::to_string).collect())
                        .unwrap_or_default(),
                    time_to_policy_ms: bound
                        .and_then(|bound| bound.time_to_policy)
                        .map(|took| took.as_secs_f64() * 1e3),
                    cni: state.attachments.at(port.device.ifindex).cloned(),
                    lifted: steered.lifted,
                    delivered: steered.delivered,
                    passed_open: steered.passed_open,
                    forwarded,
                    drops,
                }
            })
            .collect();
        let revalidated = self.revalidation.totals();
        Status {
            name: options.name.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            bridge: options.guards(),
            uptime_seconds: history::seconds_since(now, self.started),
            fallback: match options.fallback {
                Fallback::Closed => "closed",
                Fallback::Open => "open",
            }
            .into(),
            fence: self.fence.status(),
            on_exit: match options.on_exit {
                OnExit::Hold => "hold",
                OnExit::Detach => "detach",
            }
            .into(),
            epoch: snapshot.map(|snapshot| snapshot.epoch.0),
            revision: state.in_force.as_ref().and_then(|in_force| in_force.revision),
            snapshot_age_seconds: state.published.map(|(at, _)| history::seconds_since(now, at)),
            last_publish_ms: state.published.map(|(_, took)| took.as_secs_f64() * 1e3),
            publish_p99_ms: state.publish_times.percentile_ms(99.0),
            time_to_policy: state.pod_starts.summary(),
            policies: state.in_force.as_ref().map_or(0, |in_force| in_force.cluster.policies().len()),
            endpoints: state.compiled.map_or(0, |(sizes, ..)| sizes.endpoints),
            identities: state.compiled.map_or(0, |(sizes, ..)| sizes.identities),
            table_bytes: snapshot
                .map_or(0, |snapshot| snapshot.policy.heap_bytes() + snapshot.endpoints.heap_bytes()),
            flows: self.shared.flows.len(),
            flow_capacity: self.shared.flows.capacity(),
            flow_table: self.table_status(&state),
            flows_redecided: revalidated.redecided,
            flows_cut: revalidated.cut,
            last_change: self.revalidation.last(),
            events_lost: self.shared.events.lost(),
            alarms: state.alarms.iter().cloned().chain(source.alarms()).collect(),
            source,
            ports,
            workers: (0..)
                .zip(&state.workers)
                .map(|(number, worker)| self.worker_status(number, worker, now))
                .collect(),
            drops: total,
        }
    }

    /// How large the policy in force is, and how long the last change took.
    pub fn policy_stats(&self) -> PolicyStats {
        let state = self.state();
        let (Some(snapshot), Some((sizes, work, took))) = (state.snapshots.back(), state.compiled) else {
            return PolicyStats::default();
        };
        let mut stats = PolicyStats::new(snapshot, sizes, Limits::default());
        stats.epoch = Some(snapshot.epoch.0);
        stats.compilation = Some(Compilation::new(work, took));
        stats.enforced = state.published.map(|(_, took)| EnforceTimes {
            last_ms: took.as_secs_f64() * 1e3,
            p50_ms: state.publish_times.percentile_ms(50.0),
            p99_ms: state.publish_times.percentile_ms(99.0),
        });
        stats
    }

    /// Drops of a port by reason, those of the steering and those of the step.
    fn drops_of(&self, state: &State, port: Option<PortId>) -> (PortCounts, BTreeMap<String, u64>) {
        let steered = state.steering.counts(port.map_or(0, PortId::number)).unwrap_or_default();
        let mut drops = BTreeMap::new();
        for (reason, count) in DropReason::ALL.iter().zip(steered.drops) {
            if count > 0 {
                drops.insert(reason.name().to_owned(), count);
            }
        }
        for counters in &self.counters {
            for (reason, count) in counters.port(port).drops() {
                *drops.entry(reason.name().to_owned()).or_default() += count;
            }
        }
        (steered, drops)
    }

    fn worker_status(&self, number: u32, worker: &Worker, now: Time) -> WorkerStatus {
        let gauges = worker.gauges();
        let cpus = &self.options.cpus;
        WorkerStatus {
            worker: number,
            cpu: (!cpus.is_empty()).then(|| cpus[number as usize % cpus.len()]),
            alive: !worker.is_finished() && is_alive(worker, now),
            received: gauges.received.load(Relaxed),
            batches: gauges.batches.load(Relaxed),
            waits: gauges.waits.load(Relaxed),
            tx_refused: gauges.refused.load(Relaxed),
            rx_dropped: gauges.rx_dropped.load(Relaxed),
            rx_ring_full: gauges.rx_ring_full.load(Relaxed),
            rx_fill_ring_empty: gauges.rx_fill_ring_empty.load(Relaxed),
            leaked: gauges.leaked.load(Relaxed),
        }
    }
}
