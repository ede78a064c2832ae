//! Flows decided again without a packet of theirs, after policy has changed.
//!
//! A flow that gets packets is decided again by the first of them. This is for the others: what a
//! change has cut is then known soon after the change, and not when the last silent flow speaks.

use podgate_flowtable::{Addr, Decision, FlowState, FlowTable, FlowView, Time};

use super::flow::{allowed, decide};
use super::service::lacks_backend;
use crate::policy::{Cause, Endpoint};
use crate::snapshot::Snapshot;
use crate::tag::{Passage, PortId, Tag};
use crate::verdict::{Causes, DropReason};

/// What became of a flow that was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recheck {
    /// It was decided by this snapshot or a newer one, or has been cut before.
    Current,
    /// It is still allowed.
    Allowed,
    /// It is no longer allowed and was ended.
    Cut {
        /// Which side denies; `unknown-endpoint` if the flow's pods are gone, or one of them has had its
        /// address taken over by another, whatever becomes of live flows.
        reason: DropReason,
        /// What both sides say.
        causes: Causes,
    },
    /// It is no longer allowed, and lives on because live flows are not judged again.
    Kept,
    /// It is forgotten, because its backend has gone from the Service, or was never asked for one: what its
    /// client sends next goes to another one.
    Released,
    /// It ended meanwhile, or was ended by another.
    Gone,
}

/// Decides the flow again if an older snapshot has decided it, in its initiator's direction.
///
/// The port's own worker has the last word: where this finds that an end is no pod of this node, a
/// packet at that end's port is judged there. May run beside the workers; the caller sees to it that
/// `snapshot` is the newest until this returns, or a flow could be cut that has just been allowed.
pub fn recheck(flows: &FlowTable, snapshot: &Snapshot, view: &FlowView, now: Time) -> Recheck {
    let Decision { epoch, owner, .. } = view.decision;
    if is_released(snapshot, view) {
        return if flows.remove(view.id) { Recheck::Released } else { Recheck::Gone };
    }
    if epoch >= snapshot.epoch || view.state == FlowState::Denied {
        return Recheck::Current;
    }
    if snapshot.handovers.outdate(&view.original, epoch) {
        return forget(flows, view, NOBODYS);
    }
    let judges = snapshot.switches.recheck_live_flows;
    let tuple = &view.original;
    let first_seen_at = Tag::of_owner(owner).map(|tag| tag.port);
    let ends = [tuple.source, tuple.destination].map(|addr| end(snapshot, first_seen_at, addr));
    let causes = decide(snapshot, &ends.into(), tuple);
    if is_orphan(causes) {
        // No pod that it was judged for is there any more; its addresses may be another's soon.
        return forget(flows, view, causes);
    }
    let decision = Decision {
        epoch: snapshot.epoch,
        egress: causes.egress.code(),
        ingress: causes.ingress.code(),
        ..view.decision
    };
    match (allowed(causes), judges) {
        (Ok(()), false) => Recheck::Allowed,
        (Ok(()), true) => {
            if flows.redecide(view.id, decision) {
                Recheck::Allowed
            } else {
                Recheck::Gone
            }
        }
        (Err(_), false) => Recheck::Kept,
        (Err(reason), true) => {
            if flows.cut(view.id, decision, now) {
                Recheck::Cut { reason, causes }
            } else {
                Recheck::Gone
            }
        }
    }
}

/// Whether a pod of this node has it, and its Service does not stand behind it.
fn is_released(snapshot: &Snapshot, view: &FlowView) -> bool {
    let is_from_pod =
        || Tag::of_owner(view.decision.owner).is_some_and(|tag| tag.passage == Passage::FromPod);
    lacks_backend(snapshot, view.called, &view.original) && is_from_pod()
}

/// What is said of a flow with no pod that could have a say.
pub(super) const NOBODYS: Causes = Causes { egress: Cause::NotLocal, ingress: Cause::NotLocal };

/// Whether neither end is a pod of this node.
fn is_orphan(causes: Causes) -> bool {
    causes == NOBODYS
}

/// Its pod is gone, and it goes too: it is not kept as cut, for there is nobody to be refused.
fn forget(flows: &FlowTable, view: &FlowView, causes: Causes) -> Recheck {
    let reason = DropReason::UnknownEndpoint;
    if flows.remove(view.id) { Recheck::Cut { reason, causes } } else { Recheck::Gone }
}

/// As the step sees it: the pod at the port where the flow was first seen, by any address of its
/// own, and whatever else stands behind an address.
fn end(snapshot: &Snapshot, first_seen_at: Option<PortId>, addr: Addr) -> Endpoint {
    first_seen_at
        .filter(|port| snapshot.binding(*port).is_some_and(|binding| binding.owns(addr)))
        .and_then(|port| snapshot.pod(port, addr))
        .unwrap_or_else(|| snapshot.resolve(addr))
}
