//! Whether the gateway lives, and whether it is ready.
//!
//! Liveness asks whether a restart would help: it takes no lock, and knows nothing of where policy comes
//! from. Readiness asks whether policy is in force, and says how current it is.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use podgate_dataplane::worker;
use podgate_flowtable::Time;

use super::gateway::{Gateway, State};
use super::in_force::held_back;
use crate::api::{Liveness, Readiness, SourceState};
use crate::source::{SourceKind, SourceStatus};

/// The control loop turns once a second; a compilation of a large cluster takes a few.
const CONTROL_SILENT: Duration = Duration::from_mins(1);
/// The gateway itself ends before when a worker hangs.
const WORKER_SILENT: Duration = Duration::from_secs(30);

/// When the control loop has last shown life.
#[derive(Debug)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    pub(super) fn new(now: Time) -> Self {
        Self(AtomicU64::new(now.nanos()))
    }

    pub(super) fn beat(&self, now: Time) {
        self.0.store(now.nanos(), Relaxed);
    }
}

impl Gateway {
    /// Whether every thread that it needs shows life.
    pub fn liveness(&self) -> Liveness {
        let now = worker::now();
        let silent = |beat: &AtomicU64| now.since(Time::from_nanos(beat.load(Relaxed)));
        let workers = (0..)
            .zip(&self.gauges)
            .map(|(number, gauges)| (format!("worker {number}"), silent(&gauges.beat_nanos), WORKER_SILENT));
        let control = ("the control loop".to_owned(), silent(&self.pulse.0), CONTROL_SILENT);
        judge(workers.chain([control]))
    }

    /// Whether policy is in force, and how current it is.
    pub fn readiness(&self) -> Readiness {
        let now = worker::now();
        let source = self.source_status();
        let state = self.state();
        let mut reasons = Vec::new();
        if state.published.is_none() {
            reasons.push("no policy is in force: every frame of every pod is dropped".to_owned());
        }
        for (number, gauges) in self.gauges.iter().enumerate() {
            let silent = now.since(Time::from_nanos(gauges.beat_nanos.load(Relaxed)));
            if silent >= WORKER_SILENT {
                reasons.push(format!(
                    "worker {number} has shown no life for {} s: the fallback verdict is in force",
                    silent.as_secs()
                ));
            }
        }
        Readiness {
            ready: reasons.is_empty(),
            reasons,
            epoch: state.snapshots.back().map(|snapshot| snapshot.epoch.0),
            warnings: state.alarms.iter().cloned().chain(source.alarms()).collect(),
            source: Some(source_state(&state, &source)),
        }
    }

    /// The control loop lives.
    pub(super) fn beat(&self) {
        self.pulse.beat(worker::now());
    }
}

/// Where policy comes from. What is in force is not what the source says now while that cannot be read, or
/// what was read cannot be compiled.
pub(super) fn source_state(state: &State, source: &SourceStatus) -> SourceState {
    let is_current = match source.kind {
        SourceKind::Manifests => state.published.is_some(),
        SourceKind::Kubernetes => source.is_current(),
    };
    let held_back = held_back(state).into_iter().next();
    // What stands in for a policy is not what the source says.
    let not_applied = source.troubles.iter().find(|trouble| trouble.kind == "NetworkPolicy");
    let told = held_back.or_else(|| source.told()).or_else(|| not_applied.map(ToString::to_string));
    SourceState {
        kind: source.kind,
        synced: is_current && told.is_none(),
        last_contact_seconds: source.last_contact_seconds,
        told,
    }
}

fn judge(threads: impl Iterator<Item = (String, Duration, Duration)>) -> Liveness {
    let dead = threads.filter(|(_, silent, bound)| silent >= bound);
    let reasons: Vec<_> =
        dead.map(|(who, silent, _)| format!("{who} has shown no life for {} s", silent.as_secs())).collect();
    Liveness { alive: reasons.is_empty(), reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_silent_for_too_long_is_named() {
        let threads = |silent: u64| {
            let silent = Duration::from_secs(silent);
            [
                ("worker 0".to_owned(), silent, WORKER_SILENT),
                ("the control loop".to_owned(), silent, CONTROL_SILENT),
            ]
        };
        assert_eq!(judge(threads(29).into_iter()), Liveness { alive: true, reasons: vec![] });
        let told = judge(threads(31).into_iter());
        assert_eq!(told.reasons, ["worker 0 has shown no life for 31 s"]);
        assert_eq!(judge(threads(60).into_iter()).reasons.len(), 2);
        assert!(!told.alive && told.to_string().starts_with("not alive\nworker 0"));
    }
}
