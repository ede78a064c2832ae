//! Why a packet came through or did not, in the words of `podgate observe`.

use std::time::SystemTime;

use podgate_dataplane::verdict::Verdict;
use podgate_flowtable::Time;

use super::{Cable, Forwarding, Journey};
use crate::agent::{Clocks, record};
use crate::api::EventRecord;

/// Why `journey` ended as it did.
pub(super) fn why(cable: &Cable, journey: &Journey) -> String {
    let told = |(name, event): &(String, _)| {
        let clocks = Clocks { monotonic: Time::default(), wall: SystemTime::UNIX_EPOCH };
        let snapshot = cable.node(name).map(|node| &node.snapshot);
        let said = words(&record(event, snapshot, None, clocks));
        format!("on {name}: {said}")
    };
    match (journey.forwarding, journey.last_told(), journey.gates.last()) {
        (Forwarding::Drop, Some(last), _) => told(last),
        // What is no news is counted only.
        (Forwarding::Drop, None, Some((name, Verdict::Drop(reason)))) => {
            format!("on {name}: {}: {}", reason.name(), reason.explanation())
        }
        (_, _, None) => "no guarded port is on its way".to_owned(),
        _ if journey.is_of_known_flow() => "it belongs to a connection that was allowed".to_owned(),
        _ => journey.told.iter().map(told).collect::<Vec<_>>().join("; "),
    }
}

/// What an event says of its verdict: `policy-ingress: ... Isolated by x/p.`
pub(super) fn words(record: &EventRecord) -> String {
    let mut text = format!("{}: {}", record.reason, record.explanation);
    match (&record.rule, &record.policies[..]) {
        (Some(rule), _) => text.push_str(&format!(" Allowed by {rule}.")),
        (None, []) => {}
        (None, policies) => text.push_str(&format!(" Isolated by {}.", policies.join(", "))),
    }
    text
}
