//! Who is asked about: a pod, a node, an address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Serialize;

use super::super::{Judge, Survey};
use crate::model::{Cluster, ObjectKey, Pod};

/// An end as it is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndName {
    /// `namespace/pod`, or the workload that has made it.
    Pod(ObjectKey),
    /// `node:name`.
    Node(String),
    /// An address.
    Address(IpAddr),
}

/// One address of an end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct End {
    /// What policy takes it for: `namespace/name` or `node:name`; nothing for an address outside.
    pub name: Option<String>,
    /// The address.
    pub address: IpAddr,
    /// The name it was asked by, if that is another: a pod on its node's network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The node, of such a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_host_of: Option<String>,
    /// The workload that it was asked by: this is the first of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Workload>,
}

/// A workload that stands for one of its pods.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Workload {
    /// `namespace/name`.
    pub name: String,
    /// How many pods it has.
    pub pods: usize,
}

/// An end that cannot be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndError {
    /// No name of an end.
    #[error("{text:?} is no end of a connection: write NAMESPACE/POD, node:NAME or an address")]
    Syntax {
        /// What was written.
        text: String,
    },
    /// A Service.
    #[error(
        "podgate does not read Services yet: name a pod behind {text}, and the port that the pod listens on \
         (targetPort), not the Service's"
    )]
    Service {
        /// What was written.
        text: String,
    },
    /// It is in none of the files.
    #[error("there is no {what} in the files{}", similar(known))]
    Unknown {
        /// What.
        what: String,
        /// What there is instead.
        known: Vec<String>,
    },
    /// A pod that has ended.
    #[error("pod {pod} has ended ({phase}): its address may be another pod's by now")]
    Ended {
        /// The pod.
        pod: ObjectKey,
        /// Its phase.
        phase: &'static str,
    },
    /// It has no address that is its own.
    #[error("{what} has no address that is its alone: {remedy}")]
    NoAddress {
        /// What.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// One has IPv4 addresses, the other IPv6 addresses.
    #[error("{from} and {to} have no address family in common")]
    NoCommonFamily {
        /// One end.
        from: String,
        /// The other.
        to: String,
    },
}

impl End {
    /// Every address of an end.
    pub(super) fn resolve(survey: &Survey, judge: &Judge, name: &EndName) -> Result<Vec<Self>, EndError> {
        let cluster = judge.cluster();
        if let EndName::Pod(key) = name
            && !cluster.pods().contains_key(key)
            && let [first, others @ ..] = &survey.pods_of_workload(key)[..]
        {
            let mut ends = Self::resolve(survey, judge, &EndName::Pod(first.key.clone()))?;
            let count = others.len() + 1;
            for end in &mut ends {
                end.one_of = Some(Workload { name: key.to_string(), pods: count });
            }
            return Ok(ends);
        }
        let (addresses, asked, node) = match name {
            EndName::Address(address) => (vec![*address], None, None),
            EndName::Node(name) => (node_addresses(cluster, name)?, None, None),
            EndName::Pod(key) => match pod(cluster, key)? {
                pod if !pod.host_network => (pod.addresses.clone(), None, None),
                pod => {
                    let node = pod.node.clone().ok_or_else(|| EndError::NoAddress {
                        what: name.to_string(),
                        remedy: "it uses its node's network, and its manifest names no node (spec.nodeName)",
                    })?;
                    (node_addresses(cluster, &node)?, Some(key.to_string()), Some(node))
                }
            },
        };
        let end = |address| End {
            name: judge.name(address).map(str::to_owned),
            address,
            asked: asked.clone(),
            on_host_of: node.clone(),
            one_of: None,
        };
        let mut ends: Vec<Self> = addresses.into_iter().map(end).collect();
        // An address that two claim is neither's.
        if let EndName::Pod(key) = name
            && node.is_none()
        {
            ends.retain(|end| end.name.as_deref() == Some(&key.to_string()));
        }
        if ends.is_empty() {
            let remedy = "see that status.podIPs (or the node's addresses) are given and claimed by no other";
            return Err(EndError::NoAddress { what: name.to_string(), remedy });
        }
        Ok(ends)
    }

    /// The pod that policy takes it for.
    pub(crate) fn pod<'a>(&self, cluster: &'a Cluster) -> Option<&'a Pod> {
        cluster.pods().get(&self.name.as_deref()?.parse().ok()?).map(AsRef::as_ref)
    }

    /// How it is called.
    pub(super) fn title(&self) -> String {
        match self.asked.as_ref().or(self.name.as_ref()) {
            Some(name) => name.clone(),
            None => self.address.to_string(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.asked.as_ref().or(self.name.as_ref()) {
            Some(name) => write!(f, "{name} ({})", self.address),
            None => write!(f, "{} (outside)", self.address),
        }
    }
}

impl FromStr for EndName {
    type Err = EndError;

    fn from_str(text: &str) -> Result<Self, EndError> {
        if text.starts_with("svc:") {
            return Err(EndError::Service { text: text.to_owned() });
        }
        if let Some(name) = text.strip_prefix("node:").filter(|name| !name.is_empty()) {
            return Ok(Self::Node(name.to_owned()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        text.parse().map(Self::Pod).map_err(|_| EndError::Syntax { text: text.to_owned() })
    }
}

impl fmt::Display for EndName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod {key}"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

fn pod<'a>(cluster: &'a Cluster, key: &ObjectKey) -> Result<&'a Pod, EndError> {
    let Some(pod) = cluster.pods().get(key) else {
        let others = cluster.pods().keys();
        let near = others.filter(|other| other.namespace == key.namespace || other.name == key.name);
        let known = near.map(ToString::to_string).collect();
        return Err(EndError::Unknown { what: format!("pod {key}"), known });
    };
    if !pod.is_live() {
        return Err(EndError::Ended { pod: key.clone(), phase: pod.phase.name() });
    }
    Ok(pod)
}

fn node_addresses(cluster: &Cluster, name: &str) -> Result<Vec<IpAddr>, EndError> {
    let known = || cluster.nodes().keys().map(|name| format!("node:{name}")).collect();
    let node = cluster.nodes().get(name);
    let node = node.ok_or_else(|| EndError::Unknown { what: format!("node {name:?}"), known: known() })?;
    Ok(node.addresses.clone())
}

fn similar(known: &[String]) -> String {
    const SHOWN: usize = 8;
    match known.len() {
        0 => String::new(),
        1..=SHOWN => format!("; there is {}", known.join(", ")),
        count => format!("; there is {} and {} more", known[..SHOWN].join(", "), count - SHOWN),
    }
}
