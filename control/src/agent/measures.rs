//! The gateway in numbers, for monitoring.
//!
//! Reading them takes the state's lock for a moment, and stops no worker: counters are read as they are.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, UNIX_EPOCH};

use podgate_dataplane::counters::{Counters, PortCounts};
use podgate_dataplane::steer;
use podgate_dataplane::tag::Passage;
use podgate_dataplane::verdict::DropReason;
use podgate_dataplane::worker::{self, BOUNDS_NANOS, ResidenceCounts, WorkerGauges};
use podgate_flowtable::Time;

use super::alarms::Subject;
use super::gateway::{Gateway, STALE};
use super::{health, history};
use crate::api::{
    Direction, Distribution, Measures, POD_START_BOUNDS, PUBLISH_BOUNDS, ProcessMeasures, WorkerMeasures,
};

impl Gateway {
    /// As of now. May take milliseconds: not for the control loop's thread.
    pub fn measures(&self) -> Measures {
        let ready = self.readiness().ready;
        let steered = self.steered.total().unwrap_or_default();
        let all = |read: fn(&Counters) -> PortCounts| {
            let each = self.counters.iter().map(|counters| read(counters));
            each.fold(PortCounts::default(), |sum, counts| sum.plus(&counts))
        };
        let tagged = all(Counters::total_of_ports);
        let untagged = all(|counters| counters.port(None));
        let residence = self.gauges.iter().map(|gauges| gauges.residence.counts());
        let residence = residence.fold(ResidenceCounts::default(), |sum, counts| sum.plus(&counts));
        let now = worker::now();
        let rejudged = self.revalidation.totals();
        let source = self.source_status();
        let state = self.state();
        // Each is exported, with none standing too.
        let counts = Subject::ALL.map(|about| (about.name(), state.alarms.about(about).len()));
        let mut alarms: BTreeMap<_, _> = counts.into_iter().collect();
        alarms.insert("source", source.alarms().len());
        let bound = state.ports.iter().filter(|port| port.enforced.is_some()).count() as u64;
        let snapshot = state.snapshots.back();
        Measures {
            start_time_seconds: self
                .started_at
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
            ready,
            drops: drops(&steered, &tagged, &untagged),
            forwarded: [(Direction::FromPod, tagged.from_pod), (Direction::ToPod, tagged.to_pod)]
                .map(|(direction, traffic)| (direction, (traffic.packets, traffic.bytes)))
                .into(),
            lifted: steered.lifted,
            delivered: steered.delivered,
            passed_open: steered.passed_open,
            ports: [bound, state.ports.iter().count() as u64 - bound],
            snapshot: snapshot
                .zip(state.published)
                .map(|(snapshot, (at, _))| (snapshot.epoch.0, history::seconds_since(now, at))),
            policies: state.cluster.policies().len(),
            endpoints: state.compiled.map_or(0, |(sizes, ..)| sizes.endpoints),
            identities: state.compiled.map_or(0, |(sizes, ..)| sizes.identities),
            table_bytes: snapshot
                .map_or(0, |snapshot| snapshot.policy.heap_bytes() + snapshot.endpoints.heap_bytes()),
            publish: state.publish_times.distribution(PUBLISH_BOUNDS),
            pod_starts: state.pod_starts.distribution(POD_START_BOUNDS),
            residence: distribution(&residence),
            flows: self.shared.flows.len(),
            flow_capacity: self.shared.flows.capacity(),
            flow_table: self.table_status(&state),
            rejudged: [rejudged.redecided, rejudged.cut],
            fence: self.fence.status(),
            events_lost: self.shared.events.lost(),
            workers: self.gauges.iter().map(|gauges| worker_measures(gauges, now)).collect(),
            alarms,
            source: health::source_state(&state, &source),
            process: process(),
        }
    }
}

/// Every reason in every direction that it can have: those that nobody has met yet with 0, so that the first
/// one is a change.
fn drops(
    steered: &steer::PortCounts,
    tagged: &PortCounts,
    untagged: &PortCounts,
) -> BTreeMap<(&'static str, Direction), u64> {
    let mut drops = BTreeMap::new();
    let (by_steering, by_step) = DropReason::ALL.split_at(DropReason::STEERING);
    for (&reason, count) in by_steering.iter().zip(steered.drops) {
        let direction = match reason.steered_passage() {
            Some(Passage::FromPod) => Direction::FromPod,
            Some(Passage::ToPod) => Direction::ToPod,
            None => Direction::Unknown,
        };
        drops.insert((reason.name(), direction), count);
    }
    for &reason in by_step {
        // Without a tag, neither the port nor the passage is known.
        if reason == DropReason::NoTag {
            drops.insert((reason.name(), Direction::Unknown), untagged.dropped(reason));
            continue;
        }
        for (direction, passage) in
            [(Direction::FromPod, Passage::FromPod), (Direction::ToPod, Passage::ToPod)]
        {
            drops.insert((reason.name(), direction), tagged.dropped_at(passage, reason));
        }
        let unknown = untagged.dropped(reason);
        if unknown > 0 {
            drops.insert((reason.name(), Direction::Unknown), unknown);
        }
    }
    drops
}

fn distribution(residence: &ResidenceCounts) -> Distribution {
    let bounds = BOUNDS_NANOS.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64());
    Distribution {
        buckets: bounds.chain([f64::INFINITY]).zip(residence.buckets).collect(),
        sum_seconds: Duration::from_nanos(residence.sum_nanos).as_secs_f64(),
    }
}

fn worker_measures(gauges: &WorkerGauges, now: Time) -> WorkerMeasures {
    let silent = now.since(Time::from_nanos(gauges.beat_nanos.load(Relaxed)));
    WorkerMeasures {
        alive: silent < STALE,
        heartbeat_age_seconds: silent.as_secs_f64(),
        received: gauges.received.load(Relaxed),
        batches: gauges.batches.load(Relaxed),
        waits: gauges.waits.load(Relaxed),
        ring_drops: [
            ("rx-dropped", gauges.rx_dropped.load(Relaxed)),
            ("rx-full", gauges.rx_ring_full.load(Relaxed)),
            ("fill-empty", gauges.rx_fill_ring_empty.load(Relaxed)),
            ("tx-refused", gauges.refused.load(Relaxed)),
        ],
        leaked: gauges.leaked.load(Relaxed),
    }
}

fn process() -> Option<ProcessMeasures> {
    let process = procfs::process::Process::myself().ok()?;
    let stat = process.stat().ok()?;
    Some(ProcessMeasures {
        cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        resident_bytes: stat.rss * procfs::page_size(),
        open_fds: process.fd_count().ok()? as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_there_before_anybody_has_met_it() {
        let nothing = PortCounts::default();
        let drops = drops(&steer::PortCounts::default(), &nothing, &nothing);
        for reason in DropReason::ALL {
            assert!(drops.keys().any(|(name, _)| *name == reason.name()), "{reason:?}");
        }
        assert!(drops.values().all(|count| *count == 0));
        // One or two directions each, whatever happens: nothing grows with what pods do.
        assert!(drops.len() <= DropReason::COUNT * 3);
    }
}
