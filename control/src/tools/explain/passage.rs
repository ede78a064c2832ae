//! A connection to a Service that others translate (`--services off`): the gateway sees it twice, where it
//! leaves its pod, to the Service's address, and where it arrives, to the backend's.

use std::net::IpAddr;

use serde::Serialize;

use super::super::{Judge, Survey};
use super::{Because, EndError, EndName, ExplainError, Explanation, PortQuery, Side, explain};
use crate::model::{Cluster, ServicePort};

/// What is said of one of a Service's addresses where a connection to it leaves its pod.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Leaving {
    /// The Service's address.
    pub address: IpAddr,
    /// Whether a connection to it may leave.
    pub allowed: bool,
}

impl From<&Explanation> for Leaving {
    fn from(answer: &Explanation) -> Self {
        Self { address: answer.to.address, allowed: answer.allowed }
    }
}

/// What is said where the connection leaves its pod, about each of the Service's addresses; nothing if it comes
/// from no pod.
pub(super) fn leave(
    survey: &Survey,
    judge: &Judge,
    from: &EndName,
    addresses: &[IpAddr],
    asked: &ServicePort,
) -> Result<Vec<Explanation>, ExplainError> {
    let port = PortQuery::Number(asked.protocol, asked.port);
    let mut answers = Vec::new();
    for address in addresses {
        match explain(survey, judge, from, &EndName::Address(*address), &port) {
            Err(ExplainError::End(EndError::NoCommonFamily { .. })) => {}
            told => answers.extend(told?),
        }
    }
    answers.retain(|answer| answer.egress.because != Because::NoPod);
    Ok(answers)
}

/// Takes out what is not asked where the connection arrives: the gateway of another node does not know the
/// source for one of its own pods. On the source's own node its egress is asked once more, now about the
/// backend; where a manifest names no node, this is taken to be so.
pub(super) fn arrive(cluster: &Cluster, answer: &mut Explanation) {
    let node = |end: &super::End| end.pod(cluster).and_then(|pod| pod.node.clone());
    if answer.egress.because == Because::NoPod {
        return;
    }
    if let (Some(source), Some(backend)) = (node(&answer.from), node(&answer.to))
        && source != backend
    {
        answer.egress =
            Side { allowed: true, because: Because::AskedBefore, rule: None, policies: Vec::new() };
        answer.remedies.retain(|remedy| remedy.direction != "egress");
        answer.allowed = answer.ingress.allowed;
    }
}

/// What that means.
pub(super) fn note(addresses: &[IpAddr], asked: &ServicePort) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!(
        "others translate it (--services off): policy sees {} port {} where the connection leaves its pod, and the \
         backend where it arrives (on another node for ingress alone); both must be allowed",
        addresses.join(" or "),
        asked.title()
    )
}
