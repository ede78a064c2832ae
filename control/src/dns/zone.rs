//! Which names there are, and the records at each.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::Outside;
use super::records::put_records;
use crate::model::Cluster;

/// Seconds for which an answer may be kept. Short: a lab's Services come and go.
const TTL: u32 = 5;

/// So many aliases may lead to each other.
const MOST_ALIASES: usize = 8;

/// All names of a lab. What is not in here does not exist for its pods.
#[derive(Debug)]
pub struct Zone {
    /// `cluster.local.`
    pub(super) apex: Name,
    /// `svc.cluster.local.`
    pub(super) services: Name,
    /// `pod.cluster.local.`
    pods: Name,
    records: HashMap<Name, Vec<RData>>,
    namespaces: HashSet<Name>,
}

/// What a zone has to say to a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// No error, or that there is no such name.
    pub(super) code: ResponseCode,
    /// The records asked for, after the aliases that lead to them.
    pub(super) answers: Vec<Record>,
    /// How long to believe that there is nothing (RFC 2308), where the name is the cluster's.
    pub(super) authority: Option<Record>,
}

impl Zone {
    /// The names of a cluster's Services and pods, and those of hosts outside.
    pub fn new(cluster: &Cluster, outside: &[Outside]) -> Self {
        let name = |labels: &[&str]| {
            let labels = labels.iter().map(|label| label.as_bytes());
            // Of constants, all of them valid.
            Name::from_labels(labels).unwrap_or_default()
        };
        let mut zone = Self {
            apex: name(&["cluster", "local"]),
            services: name(&["svc", "cluster", "local"]),
            pods: name(&["pod", "cluster", "local"]),
            records: HashMap::new(),
            namespaces: HashSet::new(),
        };
        let soa = zone.soa();
        zone.put(&zone.apex.clone(), RData::SOA(soa));
        for namespace in cluster.namespaces().keys() {
            for above in [zone.services.clone(), zone.pods.clone()] {
                if let Some(name) = below(&above, namespace) {
                    zone.exists(&name);
                }
            }
            zone.namespaces.extend(below(&zone.pods, namespace));
        }
        put_records(&mut zone, cluster, outside);
        zone
    }

    /// Adds a record, once.
    pub(super) fn put(&mut self, name: &Name, data: RData) {
        self.exists(name);
        let there = self.records.entry(name.clone()).or_default();
        if !there.contains(&data) {
            there.push(data);
        }
    }

    /// Adds an address.
    pub(super) fn put_address(&mut self, name: &Name, address: IpAddr) {
        self.put(name, address_data(address));
    }

    /// Adds a name without records, and those above it (RFC 8020: what has names below it exists).
    pub(super) fn exists(&mut self, name: &Name) {
        let mut name = name.clone();
        while !name.is_root() && !self.records.contains_key(&name) {
            let above = name.base_name();
            self.records.insert(name, Vec::new());
            name = above;
        }
    }

    /// The answer to a question about `name`.
    pub(super) fn look_up(&self, asked: &Name, kind: RecordType) -> Found {
        let mut answers = Vec::new();
        let mut name = asked.clone();
        for _ in 0..MOST_ALIASES {
            let Some(data) = self.data(&name) else {
                return self.nothing(&name, ResponseCode::NXDomain, answers);
            };
            let is_asked = |data: &&RData| kind == RecordType::ANY || data.record_type() == kind;
            let own: Vec<&RData> = data.iter().filter(is_asked).collect();
            if !own.is_empty() {
                answers.extend(own.into_iter().map(|data| record(&name, data.clone())));
                return Found { code: ResponseCode::NoError, answers, authority: None };
            }
            let alias = data.iter().find_map(|data| match data {
                RData::CNAME(CNAME(target)) => Some(target.clone()),
                _ => None,
            });
            let Some(target) = alias else {
                return self.nothing(&name, ResponseCode::NoError, answers);
            };
            answers.push(record(&name, RData::CNAME(CNAME(target.clone()))));
            name = target;
        }
        // Aliases that go round: their names exist, and lead nowhere.
        Found { code: ResponseCode::NoError, answers, authority: None }
    }

    /// The records at a name; none if there is no such name.
    fn data(&self, name: &Name) -> Option<Vec<RData>> {
        if let Some(data) = self.records.get(name) {
            return Some(data.clone());
        }
        // Any address of a namespace's pods, whether a pod has it or not: section 2.6.
        let address = name.iter().next().and_then(dashed)?;
        self.namespaces.contains(&name.base_name()).then(|| vec![address_data(address)])
    }

    fn nothing(&self, name: &Name, code: ResponseCode, answers: Vec<Record>) -> Found {
        let authority = self.apex.zone_of(name).then(|| record(&self.apex, RData::SOA(self.soa())));
        Found { code, answers, authority }
    }

    fn soa(&self) -> SOA {
        let named = |label| below(&self.apex, label).unwrap_or_default();
        SOA::new(named("ns"), named("hostmaster"), 1, 7200, 1800, 86400, TTL)
    }
}

/// `label` under `name`; none for what cannot be a label.
pub(super) fn below(name: &Name, label: &str) -> Option<Name> {
    name.prepend_label(label.as_bytes()).ok()
}

/// An address as a label: `10-244-0-5`, `fd00-244--5`.
pub(super) fn dashes(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn dashed(label: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(label).ok()?;
    let v4 = || text.replace('-', ".").parse::<Ipv4Addr>().ok();
    let v6 = || text.replace('-', ":").parse::<Ipv6Addr>().ok();
    v4().map(IpAddr::V4).or_else(|| v6().map(IpAddr::V6))
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}
