//! From a Service to its backends: policy is about these, and about their own ports.

use std::net::IpAddr;

use serde::Serialize;

use super::super::{Judge, Spot, Survey};
use super::service_port::asked;
use super::{
    Answers, EndName, ExplainError, Explanation, Leaving, PortQuery, ServiceError, explain, passage,
};
use crate::model::{
    Cluster, Condition, NetworkPolicy, ObjectKey, Peer, Peers, Service, ServiceKind, ServicePort, TargetPort,
};
use crate::service::{Backend, ServiceMode, backends, service_at};

/// Files do not say how a gateway is run.
const ASSUMED: &str =
    "the gateway is taken to translate (--services on); where kube-proxy does, ask with --services off";

/// What a Service makes of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceReport {
    /// `namespace/name`.
    pub service: String,
    /// Who opens the connection, as it was asked for.
    pub from: String,
    /// The address that is translated; none of a headless Service.
    pub addresses: Vec<IpAddr>,
    /// Who translates it; nothing for a headless Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceMode>,
    /// Whether that is taken to be so, for files do not tell.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub services_assumed: bool,
    /// What is said of the Service's addresses where the connection leaves its pod, if others translate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Leaving>,
    /// The protocol.
    pub protocol: String,
    /// The Service's port.
    pub port: u16,
    /// The backends' port as the Service has it: a number, or a name that each looks up.
    pub target: String,
    /// File and line.
    pub spot: Option<Spot>,
    /// Whoever may get the connection, or would if it were ready.
    pub backends: Vec<BackendReport>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// An endpoint of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BackendReport {
    /// What policy takes it for.
    pub name: Option<String>,
    /// Its address.
    pub address: IpAddr,
    /// Its own port.
    pub port: u16,
    /// Whether it may be reached; nothing if no connection is sent there.
    pub allowed: Option<bool>,
    /// Why not, if no connection is sent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unused: Option<&'static str>,
}

/// The Service that is meant by an end, and the address it is called by.
pub(super) fn meant<'a>(
    cluster: &'a Cluster,
    to: &EndName,
) -> Result<Option<(&'a Service, Option<IpAddr>)>, ServiceError> {
    match to {
        EndName::Service(key) => match cluster.services().get(key) {
            Some(service) => Ok(Some((service, None))),
            None => {
                let others = cluster.services().keys();
                let near = others.filter(|other| other.namespace == key.namespace || other.name == key.name);
                let known = near.map(|key| format!("svc:{key}")).collect();
                Err(ServiceError::Unknown { service: key.clone(), known })
            }
        },
        EndName::Address(address) => {
            Ok(service_at(cluster, *address).map(|service| (service, Some(*address))))
        }
        EndName::Pod(_) | EndName::Node(_) => Ok(None),
    }
}

/// Explains a connection to a Service, backend by backend.
pub(super) fn answers(
    survey: &Survey,
    judge: &Judge,
    from: &EndName,
    (service, called): (&Service, Option<IpAddr>),
    port: &PortQuery,
) -> Result<Answers, ExplainError> {
    let key = &service.key;
    let asked = asked(&survey.cluster, service, port)?;
    let mut behind = backends(&survey.cluster, service, &asked);
    behind.retain(|backend| called.is_none_or(|called| called.is_ipv4() == backend.address.is_ipv4()));
    let wanted = [true, false].map(|v4| wanted(&behind, v4));
    if wanted == [None, None] {
        let reason = why_nobody(survey, service, &asked, &behind);
        let (service, port) = (key.clone(), asked.title());
        return Err(ServiceError::NoBackend { service, port, reason }.into());
    }
    let addresses = called.map_or_else(|| service.cluster_ips().to_vec(), |called| vec![called]);
    let is_translated = matches!(service.kind, ServiceKind::Cluster(_));
    let mode = is_translated.then(|| survey.services.unwrap_or_default());
    let mut answers: Vec<Explanation> = match mode {
        Some(ServiceMode::Off) if addresses.is_empty() => {
            return Err(ServiceError::NoAddress { service: key.clone() }.into());
        }
        Some(ServiceMode::Off) => passage::leave(survey, judge, from, &addresses, &asked)?,
        Some(ServiceMode::On) | None => Vec::new(),
    };
    let leaving = answers.iter().map(Leaving::from).collect();
    let mut reports = Vec::new();
    for backend in &behind {
        let wanted = wanted[usize::from(!backend.address.is_ipv4())];
        let unused = (Some(backend.condition) != wanted).then_some(match backend.condition {
            Condition::Terminating => "it is going away",
            Condition::Ready | Condition::NotReady => "it is not ready",
        });
        let name = judge.name(backend.address).map(str::to_owned);
        let (address, port) = (backend.address, backend.port);
        let mut report = BackendReport { name, address, port, allowed: None, unused };
        if unused.is_none() {
            let port = PortQuery::Number(asked.protocol, backend.port);
            let mut told = match explain(survey, judge, from, &EndName::Address(backend.address), &port) {
                // The other family's backends serve whoever has an address of it.
                Err(ExplainError::End(super::EndError::NoCommonFamily { .. })) => continue,
                told => told?,
            };
            if mode == Some(ServiceMode::Off) {
                for answer in &mut told {
                    passage::arrive(&survey.cluster, answer);
                }
            }
            report.allowed = Some(told.iter().all(|answer| answer.allowed));
            for answer in told {
                if !answers.iter().any(|other| is_alike(other, &answer)) {
                    answers.push(answer);
                }
            }
        }
        reports.push(report);
    }
    if reports.iter().all(|report| report.allowed.is_none()) {
        let (from, to) = (from.to_string(), format!("Service {key}"));
        return Err(super::EndError::NoCommonFamily { from, to }.into());
    }
    let report = ServiceReport {
        service: key.to_string(),
        from: from.to_string(),
        services: mode,
        services_assumed: is_translated && survey.services.is_none(),
        leaving,
        notes: notes(survey, service, &asked, &addresses, &answers),
        addresses,
        protocol: asked.protocol.to_string(),
        port: asked.port,
        target: target(&asked.target),
        spot: survey.spot(&format!("Service {key}"), "metadata.name"),
        backends: reports,
    };
    Ok(Answers::new(Some(report), answers))
}

fn target(target: &TargetPort) -> String {
    match target {
        TargetPort::Number(number) => number.to_string(),
        TargetPort::Named(name) => name.clone(),
    }
}

/// Who of a family gets new connections: those that are ready, or else those that are going away.
fn wanted(behind: &[Backend], v4: bool) -> Option<Condition> {
    let behind = behind.iter().filter(|backend| backend.address.is_ipv4() == v4);
    let has = |wanted| behind.clone().any(|backend| backend.condition == wanted);
    [Condition::Ready, Condition::Terminating].into_iter().find(|wanted| has(*wanted))
}

fn why_nobody(survey: &Survey, service: &Service, asked: &ServicePort, behind: &[Backend]) -> String {
    if !behind.is_empty() {
        return "none of its backends is ready".to_owned();
    }
    if service.selector.is_empty() {
        return "it has no selector, and no EndpointSlice lists an endpoint".to_owned();
    }
    let labels = service.selector.iter().map(|(key, value)| format!("{key}={value}"));
    let labels = labels.collect::<Vec<_>>().join(", ");
    let pods = survey.cluster.pods().values().filter(|pod| {
        pod.key.namespace == service.key.namespace
            && pod.is_live()
            && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    });
    match (pods.count(), &asked.target) {
        (0, _) => format!("no pod in namespace {} has {labels}", service.key.namespace),
        (_, TargetPort::Named(name)) => {
            format!("no pod with {labels} has a port named {name}/{}", asked.protocol)
        }
        (_, TargetPort::Number(_)) => format!("no pod with {labels} has an address"),
    }
}

/// Whether two answers say the same of two backends.
fn is_alike(one: &Explanation, other: &Explanation) -> bool {
    let sides = |answer: &Explanation| {
        [&answer.egress, &answer.ingress].map(|side| {
            let rule = side.rule.as_ref().map(|rule| (rule.policy.clone(), rule.rule.clone()));
            let policies: Vec<String> = side.policies.iter().map(|policy| policy.policy.clone()).collect();
            (side.because, rule, policies)
        })
    };
    let remedies = |answer: &Explanation| -> Vec<String> {
        answer.remedies.iter().map(|remedy| remedy.yaml.clone()).collect()
    };
    (one.allowed, one.port, &one.from) == (other.allowed, other.port, &other.from)
        && sides(one) == sides(other)
        && remedies(one) == remedies(other)
}

fn notes(
    survey: &Survey,
    service: &Service,
    asked: &ServicePort,
    addresses: &[IpAddr],
    answers: &[Explanation],
) -> Vec<String> {
    let mut notes = Vec::new();
    if matches!(service.kind, ServiceKind::Cluster(_)) {
        match survey.services {
            Some(ServiceMode::Off) => return vec![passage::note(addresses, asked)],
            Some(ServiceMode::On) => {}
            None => notes.push(ASSUMED.to_owned()),
        }
    }
    let mut ports: Vec<u16> = answers.iter().filter_map(|answer| answer.port).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports != [asked.port] {
        let own: Vec<String> = ports.iter().map(|port| format!("{port}/{}", asked.protocol)).collect();
        notes.push(format!(
            "policy is about the pods and their port, {}: a rule for {} of the Service does nothing",
            own.join(" or "),
            asked.title()
        ));
    }
    // Rules for the Service's address look right, and are about nobody.
    let isolating = answers.iter().flat_map(|answer| &answer.egress.policies);
    let mut policies: Vec<&str> = isolating.map(|policy| policy.policy.as_str()).collect();
    policies.sort_unstable();
    policies.dedup();
    for name in policies {
        let policy = name.parse().ok().and_then(|key: ObjectKey| survey.cluster.policies().get(&key));
        let address = policy.and_then(|policy| {
            service.cluster_ips().iter().find(|address| allows_address(policy, **address))
        });
        if let Some(address) = address {
            notes.push(format!(
                "{name} has a rule for {address}; that address is translated to a pod's first"
            ));
        }
    }
    notes
}

fn allows_address(policy: &NetworkPolicy, address: IpAddr) -> bool {
    policy.egress.iter().any(|rule| match &rule.peers {
        Peers::Any => false,
        Peers::AnyOf(peers) => {
            peers.iter().any(|peer| matches!(peer, Peer::Block(block) if block.contains(address)))
        }
    })
}
