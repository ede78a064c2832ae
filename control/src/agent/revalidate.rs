//! After a change of policy: what it means for live flows, found out and told.
//!
//! Flows that get packets are decided again by the workers. A thread of its own decides the others,
//! a slice at a time, so that soon after a change it is known what it has cut.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podgate_dataplane::counters::Counters;
use podgate_dataplane::events::{Event, EventKind};
use podgate_dataplane::snapshot::Snapshot;
use podgate_dataplane::step::{Recheck, recheck};
use podgate_dataplane::verdict::{Causes, DropReason, Verdict};
use podgate_dataplane::worker::{self, Shared};
use podgate_flowtable::{Epoch, FlowView, Time};

use crate::api::ChangeReport;

/// Flows decided again at a stretch. A new policy may have to wait for one stretch.
const SLICE: usize = 1024;
/// Between stretches the CPU is somebody else's.
const PAUSE: Duration = Duration::from_millis(1);

/// Decides flows again after every change of policy, until it is dropped.
pub(super) struct Revalidation {
    inner: Arc<Inner>,
    changes: Sender<Change>,
}

struct Inner {
    shared: Arc<Shared>,
    counters: Vec<Arc<Counters>>,
    /// Held while a policy is published, and while flows are decided by the newest one.
    turn: Mutex<()>,
    /// Decided here; workers have counters of their own.
    own: Own,
    last: Mutex<Option<ChangeReport>>,
    /// Every flow that was decided before this epoch has been looked at since.
    looked_at: AtomicU32,
}

#[derive(Default)]
struct Own {
    redecided: AtomicU64,
    cut: AtomicU64,
}

/// How many flows policy has left as they were, and cut, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    pub(super) redecided: u64,
    pub(super) cut: u64,
}

/// A policy has been published.
struct Change {
    epoch: Epoch,
    at: Time,
    /// As it was published.
    before: Totals,
}

/// What one look at all flows has found, besides what it has done.
#[derive(Default)]
struct Found {
    kept: u64,
    /// In force, and no flow is touched by it: `--live-connections keep`.
    allowed: u64,
}

impl Revalidation {
    pub(super) fn start(shared: Arc<Shared>, counters: Vec<Arc<Counters>>) -> std::io::Result<Self> {
        let (turn, own, last) = (Mutex::default(), Own::default(), Mutex::default());
        let looked_at = AtomicU32::default();
        let inner = Arc::new(Inner { shared, counters, turn, own, last, looked_at });
        let (changes, coming) = channel();
        let thread = Arc::clone(&inner);
        std::thread::Builder::new().name("revalidate".into()).spawn(move || thread.follow(&coming))?;
        Ok(Self { inner, changes })
    }

    /// Puts a policy in force. No flow is being decided by an older one outside of the workers
    /// when this returns.
    pub(super) fn publish(&self, snapshot: Arc<Snapshot>) {
        let change = Change { epoch: snapshot.epoch, at: worker::now(), before: self.totals() };
        let turn = lock(&self.inner.turn);
        self.inner.shared.published.publish(snapshot);
        drop(turn);
        // The thread ends after this only.
        let _ = self.changes.send(change);
    }

    pub(super) fn totals(&self) -> Totals {
        self.inner.totals()
    }

    /// Every flow that was decided before this epoch has been looked at since.
    pub(super) fn looked_at(&self) -> Epoch {
        Epoch(self.inner.looked_at.load(Relaxed))
    }

    /// What the last change has done to live flows; `None` until the first has been looked into.
    pub(super) fn last(&self) -> Option<ChangeReport> {
        lock(&self.inner.last).clone()
    }
}

impl Inner {
    fn follow(&self, coming: &Receiver<Change>) {
        while let Ok(mut change) = coming.recv() {
            // Changes that came meanwhile are looked into together.
            while let Ok(newer) = coming.try_recv() {
                change = Change { epoch: newer.epoch, at: newer.at, before: change.before };
            }
            let found = self.look(change.epoch);
            self.looked_at.store(change.epoch.0, Relaxed);
            self.report(&change, &found);
        }
    }

    fn look(&self, epoch: Epoch) -> Found {
        let mut found = Found::default();
        let mut views = self.shared.flows.views().filter(|view| view.decision.epoch < epoch);
        loop {
            let slice: Vec<FlowView> = views.by_ref().take(SLICE).collect();
            if slice.is_empty() {
                return found;
            }
            self.judge(&slice, &mut found);
            std::thread::sleep(PAUSE);
        }
    }

    fn judge(&self, slice: &[FlowView], found: &mut Found) {
        let turn = lock(&self.turn);
        let Some(snapshot) = self.shared.published.read(|newest| newest.map(Arc::clone)) else { return };
        let now = worker::now();
        let flows = &self.shared.flows;
        for view in slice {
            // A worker may have been here since.
            let current = flows.find(&view.original).map(|(current, _)| current);
            let Some(view) = current.filter(|current| current.id == view.id) else { continue };
            match recheck(flows, &snapshot, &view, now) {
                Recheck::Current | Recheck::Gone | Recheck::Released => {}
                Recheck::Kept => found.kept += 1,
                Recheck::Allowed if snapshot.switches.recheck_live_flows => {
                    self.own.redecided.fetch_add(1, Relaxed);
                }
                Recheck::Allowed => found.allowed += 1,
                Recheck::Cut { reason, causes } => {
                    self.own.cut.fetch_add(1, Relaxed);
                    self.tell(&snapshot, &view, reason, causes, now);
                }
            }
        }
        drop(turn);
    }

    /// As for a flow that its own packet has cut; there is no frame to speak of.
    fn tell(&self, snapshot: &Snapshot, view: &FlowView, reason: DropReason, causes: Causes, now: Time) {
        let tuple = view.original;
        self.shared.events.push_with(|| Event {
            kind: EventKind::FlowCut,
            time: now,
            tag: None,
            tuple: Some(tuple),
            called: view.called,
            len_bytes: 0,
            verdict: Verdict::Drop(reason),
            causes: Some(causes),
            source: snapshot.resolve(tuple.source).id,
            destination: snapshot.resolve(tuple.destination).id,
            epoch: Some(snapshot.epoch),
            tcp_flags: None,
            icmp_type: None,
        });
    }

    fn totals(&self) -> Totals {
        let own = Totals { redecided: self.own.redecided.load(Relaxed), cut: self.own.cut.load(Relaxed) };
        self.counters.iter().map(|counters| counters.total()).fold(own, |sum, counts| Totals {
            redecided: sum.redecided + counts.flows_redecided,
            cut: sum.cut + counts.flows_cut,
        })
    }

    fn report(&self, change: &Change, found: &Found) {
        let totals = self.totals();
        let report = ChangeReport {
            epoch: change.epoch.0,
            allowed: totals.redecided - change.before.redecided + found.allowed,
            cut: totals.cut - change.before.cut,
            kept: found.kept,
            seconds: worker::now().since(change.at).as_secs_f64(),
        };
        let ChangeReport { epoch, allowed, cut, kept, .. } = report;
        if cut + kept > 0 {
            tracing::info!(epoch, cut, kept, allowed, "live flows that policy no longer allows");
        }
        *lock(&self.last) = Some(report);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
