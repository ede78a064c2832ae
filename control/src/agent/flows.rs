//! Flows with names: told, and forgotten on request.

use std::collections::BTreeMap;
use std::sync::Arc;

use podgate_dataplane::policy::Cause;
use podgate_dataplane::snapshot::Snapshot;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::Causes;
use podgate_dataplane::worker::{self, Shared};
use podgate_flowtable::{Addr, Assurance, Decision, Epoch, FlowState, FlowView, Time, Way};

use super::gateway::Gateway;
use super::history::{Said, seconds_since, service_name};
use crate::api::{FlowFilter, FlowRecord, ProtocolName};

/// The epoch of flows that no snapshot of this gateway has judged yet: they are from before it.
pub(super) const UNJUDGED: Epoch = Epoch(0);

/// The flow table and all that is needed to name what is in it, as of one moment. It holds no lock
/// of the gateway's, and workers do not wait for it.
pub struct FlowReader {
    shared: Arc<Shared>,
    /// Oldest first.
    snapshots: Vec<Arc<Snapshot>>,
    devices: BTreeMap<u16, String>,
    now: Time,
}

impl Gateway {
    /// A look at the flows.
    pub fn flow_reader(&self) -> FlowReader {
        let state = self.state();
        let devices = state.ports.iter().map(|port| (port.id.number(), port.device.name.clone()));
        FlowReader {
            shared: Arc::clone(&self.shared),
            snapshots: state.snapshots.iter().cloned().collect(),
            devices: devices.collect(),
            now: worker::now(),
        }
    }
}

impl FlowReader {
    /// Every flow that fits. Walks the whole table: not for a thread that others wait for.
    pub fn records<'a>(&'a self, filter: &'a FlowFilter) -> impl Iterator<Item = FlowRecord> + 'a {
        self.wanted(filter).map(|view| self.record(&view))
    }

    /// Forgets every flow that fits; returns how many. A packet of theirs is a stranger's.
    pub fn flush(&self, filter: &FlowFilter) -> u64 {
        self.wanted(filter).filter(|view| self.shared.flows.remove(view.id)).count() as u64
    }

    fn wanted<'a>(&'a self, filter: &'a FlowFilter) -> impl Iterator<Item = FlowView> + 'a {
        let is_at = |view: &FlowView, pod: &str| {
            let snapshot = self.decided_by(&view.decision);
            let tuple = &view.original;
            [tuple.source, tuple.destination].into_iter().any(|addr| name(snapshot, addr) == Some(pod))
        };
        let views = self.shared.flows.views();
        let live = views.filter(|view| view.expires_at > self.now);
        let fitting = live
            .filter(|view| filter.admits(view))
            .filter(move |view| filter.pod.as_deref().is_none_or(|pod| is_at(view, pod)));
        fitting.take(filter.limit.unwrap_or(usize::MAX))
    }

    /// The snapshot a decision was made by, or the newest if it is no longer kept.
    fn decided_by(&self, decision: &Decision) -> Option<&Snapshot> {
        let own = self.snapshots.iter().rev().find(|snapshot| snapshot.epoch == decision.epoch);
        own.or(self.snapshots.last()).map(Arc::as_ref)
    }

    /// For a flow from before this gateway: whether it lives on as it is, or is judged with its next packet.
    fn carried_word(&self, causes: Causes) -> &'static str {
        let keeps = self.snapshots.last().is_some_and(|newest| !newest.switches.recheck_live_flows);
        let has_say = causes != Causes { egress: Cause::NotLocal, ingress: Cause::NotLocal };
        if keeps && has_say { "carried" } else { "unjudged" }
    }

    fn record(&self, view: &FlowView) -> FlowRecord {
        let Decision { epoch, egress, ingress, way, owner } = view.decision;
        let snapshot = self.decided_by(&view.decision);
        // Rules are numbered by snapshot: another one would name the wrong rule.
        let names = snapshot.filter(|snapshot| snapshot.epoch == epoch).map(|snapshot| &snapshot.names);
        let cause = |code| Cause::from_code(code).unwrap_or(Cause::NotLocal);
        let causes = Causes { egress: cause(egress), ingress: cause(ingress) };
        let said = match view.state {
            FlowState::Denied => Said::denied(causes),
            _ => Said::forward(causes, names),
        };
        let tuple = &view.original;
        let named = |addr: Addr| name(snapshot, addr).map_or_else(|| addr.to_string(), str::to_owned);
        FlowRecord {
            id: view.id.to_string(),
            source: named(tuple.source),
            source_ip: tuple.source.to_string(),
            source_port: tuple.source_port,
            destination: named(tuple.destination),
            destination_ip: tuple.destination.to_string(),
            destination_port: tuple.destination_port,
            called: view.called.map(|called| (called.addr.to_ip(), called.port).into()),
            service: snapshot
                .zip(view.called)
                .and_then(|(snapshot, called)| service_name(snapshot, called, tuple.protocol)),
            protocol: ProtocolName(tuple.protocol).to_string(),
            state: view.state.name().into(),
            assured: view.assurance == Assurance::Assured,
            age_seconds: seconds_since(self.now, view.opened),
            idle_seconds: seconds_since(self.now, view.last_seen),
            expires_seconds: seconds_since(view.expires_at, self.now),
            packets_sent: view.packets[0],
            bytes_sent: view.bytes[0],
            packets_returned: view.packets[1],
            bytes_returned: view.bytes[1],
            reason: if epoch == UNJUDGED { self.carried_word(causes) } else { said.reason }.into(),
            egress: cause_word(causes.egress).into(),
            ingress: cause_word(causes.ingress).into(),
            policies: said.policies,
            rule: said.rule,
            way: match way {
                Way::Shortcut => "shortcut",
                Way::Bridge => "bridge",
            }
            .into(),
            device: Tag::of_owner(owner).and_then(|tag| self.devices.get(&tag.port.number()).cloned()),
            epoch: epoch.0,
        }
    }
}

impl std::fmt::Debug for FlowReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowReader").field("flows", &self.shared.flows.len()).finish_non_exhaustive()
    }
}

fn name(snapshot: Option<&Snapshot>, addr: Addr) -> Option<&str> {
    let snapshot = snapshot?;
    snapshot.names.endpoint(snapshot.resolve(addr).id?)
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::NotLocal => "not-local",
        Cause::NotIsolated => "not-isolated",
        Cause::OwnNode => "own-node",
        Cause::Itself => "itself",
        Cause::Rule(_) => "policy",
        Cause::Carried => "carried",
        Cause::DefaultDeny | Cause::NotReached => "denied",
    }
}
