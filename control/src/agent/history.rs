//! Events with names, kept for a while and passed on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use podgate_dataplane::events::{Event, EventKind};
use podgate_dataplane::policy::{Cause, EndpointId};
use podgate_dataplane::service::ServiceKey;
use podgate_dataplane::snapshot::{Names, Snapshot};
use podgate_dataplane::tag::Passage;
use podgate_dataplane::verdict::{Causes, DropReason, Verdict};
use podgate_flowtable::{Addr, IpProtocol, Target, Time};
use tokio::sync::broadcast;

use crate::api::{EventRecord, ProtocolName, VerdictWord};

/// Events kept for those who ask later.
const KEPT: usize = 4096;
/// Policies that an event names at most. A pod may be isolated by a thousand: a flood of denied frames would
/// then cost a thousand names each, and hold up the loop that puts changes in force.
const NAMED: usize = 16;

/// The last events, and those to come.
#[derive(Debug)]
pub struct History {
    kept: Mutex<VecDeque<Arc<EventRecord>>>,
    coming: broadcast::Sender<Arc<EventRecord>>,
}

impl History {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::new(VecDeque::with_capacity(KEPT)), coming: broadcast::Sender::new(KEPT) }
    }

    /// What is kept, oldest first, and a receiver of everything after it: nothing twice, nothing
    /// left out.
    pub fn subscribe(&self) -> (Vec<Arc<EventRecord>>, broadcast::Receiver<Arc<EventRecord>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.coming.subscribe())
    }

    pub(super) fn push(&self, record: EventRecord) {
        let record = Arc::new(record);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&record));
        // Without listeners it is only kept.
        let _ = self.coming.send(record);
    }
}

/// Two clocks at one moment, to tell the wall-clock time of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) monotonic: Time,
    pub(crate) wall: SystemTime,
}

impl Clocks {
    fn wall_of(self, time: Time) -> SystemTime {
        let ago = self.monotonic.since(time);
        let ahead = time.since(self.monotonic);
        self.wall.checked_sub(ago).map_or(self.wall, |wall| wall + ahead)
    }
}

/// An event in words, with the names of the snapshot it was decided by.
pub(crate) fn record(
    event: &Event,
    snapshot: Option<&Snapshot>,
    device: Option<&str>,
    clocks: Clocks,
) -> EventRecord {
    let names = snapshot.map(|snapshot| &snapshot.names);
    let named = |id: Option<EndpointId>, address: Option<Addr>| {
        let name = id.and_then(|id| names?.endpoint(id)).map(str::to_owned);
        name.or_else(|| address.map(|address| address.to_string()))
    };
    let tuple = event.tuple;
    let said = Said::of(event, names);
    EventRecord {
        time: humantime::format_rfc3339_millis(clocks.wall_of(event.time)).to_string(),
        verdict: match event.verdict {
            Verdict::Forward(_) => VerdictWord::Forwarded,
            Verdict::Drop(_) | Verdict::Reject(_) => VerdictWord::Dropped,
        },
        reason: said.reason.into(),
        explanation: said.explanation,
        source: named(event.source, tuple.map(|tuple| tuple.source)),
        source_ip: tuple.map(|tuple| tuple.source.to_string()),
        source_port: tuple.map_or(0, |tuple| tuple.source_port),
        destination: named(event.destination, tuple.map(|tuple| tuple.destination)),
        destination_ip: tuple.map(|tuple| tuple.destination.to_string()),
        destination_port: tuple.map_or(0, |tuple| tuple.destination_port),
        protocol: tuple.map(|tuple| ProtocolName(tuple.protocol).to_string()),
        called: event.called.map(|called| (called.addr.to_ip(), called.port).into()),
        service: snapshot
            .zip(event.called)
            .zip(tuple)
            .and_then(|((snapshot, called), tuple)| service_name(snapshot, called, tuple.protocol)),
        policies: said.policies,
        policies_left_out: said.policies_left_out,
        rule: said.rule,
        side: said.side.map(str::to_owned),
        device: device.map(str::to_owned),
        passage: event.tag.map(|tag| passage_word(tag.passage).to_owned()),
        len_bytes: event.len_bytes,
        epoch: event.epoch.map_or(0, |epoch| epoch.0),
    }
}

/// What there is to say of a verdict.
#[derive(Default)]
pub(super) struct Said {
    pub(super) reason: &'static str,
    explanation: String,
    pub(super) policies: Vec<String>,
    policies_left_out: usize,
    pub(super) rule: Option<String>,
    side: Option<&'static str>,
}

impl Said {
    fn of(event: &Event, names: Option<&Names>) -> Self {
        match event.verdict {
            Verdict::Drop(reason) | Verdict::Reject(reason) => Self::drop(reason, event, names),
            Verdict::Forward(_) => {
                event.causes.map_or_else(Self::default, |causes| Self::forward(causes, names))
            }
        }
    }

    fn drop(reason: DropReason, event: &Event, names: Option<&Names>) -> Self {
        let isolating = |id: Option<EndpointId>, egress: bool| -> (Vec<String>, usize) {
            let (Some(id), Some(names)) = (id, names) else { return Default::default() };
            let Some(isolation) = names.isolation.get(id.0 as usize) else { return Default::default() };
            let policies = if egress { &isolation.egress } else { &isolation.ingress };
            let named = policies.iter().take(NAMED);
            let named =
                named.filter_map(|&policy| names.policies.get(policy as usize).map(ToString::to_string));
            (named.collect(), policies.len().saturating_sub(NAMED))
        };
        let ((policies, policies_left_out), side) = match reason {
            DropReason::PolicyEgress => (isolating(event.source, true), Some("egress")),
            DropReason::PolicyIngress => (isolating(event.destination, false), Some("ingress")),
            _ => (Default::default(), None),
        };
        let mut explanation = reason.explanation().to_owned();
        if event.kind == EventKind::FlowCut {
            explanation.push_str(match reason {
                DropReason::UnknownEndpoint => {
                    " The flow was a former pod's, whose address is another's or nobody's now; it was forgotten."
                }
                _ => " The flow had been allowed before the policy changed; it was cut.",
            });
        }
        Self { reason: reason.name(), explanation, policies, policies_left_out, rule: None, side }
    }

    /// Of a flow that policy has cut.
    pub(super) fn denied(causes: Causes) -> Self {
        let reason =
            if causes.egress.allows() { DropReason::PolicyIngress } else { DropReason::PolicyEgress };
        Self { reason: reason.name(), ..Self::default() }
    }

    pub(super) fn forward(causes: Causes, names: Option<&Names>) -> Self {
        let mut policies = Vec::new();
        let mut rules = Vec::new();
        for cause in [causes.egress, causes.ingress] {
            if let Cause::Rule(id) = cause
                && let Some((policy, rule)) = names.and_then(|names| names.rule(id))
            {
                let section = if rule.egress { "egress" } else { "ingress" };
                policies.push(policy.to_owned());
                rules.push(format!("{policy} {section}[{}]", rule.index));
            }
        }
        policies.dedup();
        let (reason, explanation) = match (causes.egress, causes.ingress) {
            (Cause::Itself, _) => ("itself", "A pod may always reach itself."),
            (Cause::OwnNode, _) => {
                ("own-node", "A pod may open connections to its own node (--egress-to-own-node allow).")
            }
            (Cause::Rule(_), _) | (_, Cause::Rule(_)) => ("policy", "A rule allows it."),
            (_, Cause::OwnNode) => ("own-node", "A pod's own node may always reach it."),
            _ => ("not-isolated", "No policy isolates either end in this direction."),
        };
        let rule = (!rules.is_empty()).then(|| rules.join(", "));
        Self { reason, explanation: explanation.into(), policies, policies_left_out: 0, rule, side: None }
    }
}

/// `namespace/name` of the Service that is called so, if there still is one.
pub(super) fn service_name(snapshot: &Snapshot, called: Target, protocol: IpProtocol) -> Option<String> {
    let key = ServiceKey { addr: called.addr, port: called.port, protocol };
    let name = &snapshot.services.port(&key)?.name;
    (!name.is_empty()).then(|| name.to_string())
}

pub(super) const fn passage_word(passage: Passage) -> &'static str {
    match passage {
        Passage::FromPod => "from-pod",
        Passage::ToPod => "to-pod",
    }
}

/// How long ago something was, in seconds.
pub(super) fn seconds_since(now: Time, then: Time) -> f64 {
    Duration::as_secs_f64(&now.since(then))
}

#[cfg(test)]
mod tests {
    use podgate_dataplane::snapshot::Isolation;

    use super::*;

    #[test]
    fn an_event_names_a_few_of_many_policies_and_counts_the_others() {
        let cut_short = |count: u32| {
            let isolation = Isolation { ingress: (0..count).collect(), egress: [].into() };
            let names = Names {
                policies: (0..count).map(|number| format!("x/p{number}").into()).collect(),
                isolation: [isolation].into_iter().collect(),
                ..Names::default()
            };
            let event = Event {
                kind: EventKind::Dropped,
                time: Time::default(),
                tag: None,
                tuple: None,
                called: None,
                len_bytes: 0,
                verdict: Verdict::Drop(DropReason::PolicyIngress),
                causes: None,
                source: None,
                destination: Some(EndpointId(0)),
                epoch: None,
                tcp_flags: None,
                icmp_type: None,
            };
            let said = Said::of(&event, Some(&names));
            (said.policies.len(), said.policies_left_out)
        };
        assert_eq!([3, 16, 20].map(cut_short), [(3, 0), (16, 0), (16, 4)]);
    }
}
