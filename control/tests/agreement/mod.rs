//! That a compiled table says what the naive evaluator says.
#![allow(dead_code)]

use std::net::IpAddr;

use podgate_control::compile::{Compiled, Locality};
use podgate_control::model::Cluster;
use podgate_control::oracle::{Flow, Side, judge};
use podgate_dataplane::policy::Cause;
use podgate_flowtable::{Addr, IpProtocol};
use proptest::prelude::*;

use crate::random::{v4, v6};

/// Ports at and next to the bounds that random rules have.
const PORTS: [u16; 9] = [0, 1, 53, 54, 80, 81, 101, 8080, 65535];

/// Every pair of addresses gets the same verdict, and an allowed one a rule that indeed allows.
pub fn agrees(cluster: &Cluster, locality: &Locality, compiled: &Compiled) -> Result<(), TestCaseError> {
    for (from, to) in pairs(&addresses(cluster)) {
        for (protocol, port) in flows() {
            same(cluster, locality, compiled, Flow { from, to, protocol, port })?;
        }
    }
    Ok(())
}

/// All pairs of one family.
pub fn pairs(addresses: &[IpAddr]) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    addresses.iter().flat_map(|from| {
        let same_family = addresses.iter().filter(|to| to.is_ipv4() == from.is_ipv4());
        same_family.map(|to| (*from, *to))
    })
}

/// What to ask of each pair.
pub fn flows() -> impl Iterator<Item = (IpProtocol, u16)> {
    let with_ports = [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::SCTP];
    let flows = with_ports.into_iter().flat_map(|protocol| PORTS.map(|port| (protocol, port)));
    flows.chain([(IpProtocol::ICMP, 0), (IpProtocol::ICMPV6, 0), (IpProtocol(47), 0)])
}

/// Those of all pods and nodes, dead ones too, and some that nobody has.
pub fn addresses(cluster: &Cluster) -> Vec<IpAddr> {
    let pods = cluster.pods().values().flat_map(|pod| pod.addresses.iter().copied());
    let nodes = cluster.nodes().values().flat_map(|node| node.addresses.iter().copied());
    let outside =
        ["203.0.113.10", "198.51.100.7", "2001:db8::1", "10.0.0.77"].map(|text| text.parse().unwrap());
    let mut all: Vec<IpAddr> = pods.chain(nodes).chain(outside).chain([v4(5), v6(5)]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn same(
    cluster: &Cluster,
    locality: &Locality,
    compiled: &Compiled,
    flow: Flow,
) -> Result<(), TestCaseError> {
    let expected = judge(cluster, locality, flow);
    let found = compiled.decide(Addr::from(flow.from), Addr::from(flow.to), flow.protocol, flow.port);
    prop_assert_eq!(expected.allows(), found.allows(), "{:?}: {:?}, compiled {:?}", flow, expected, found);
    for (side, cause, egress) in
        [(&expected.egress, found.egress, true), (&expected.ingress, found.ingress, false)]
    {
        let agrees = match (side, cause) {
            (_, Cause::NotReached) => !egress && !found.egress.allows(),
            // A node that talks to itself is no pod's business.
            (Side::NotLocal, Cause::NotLocal | Cause::Itself)
            | (Side::NotIsolated, Cause::NotIsolated)
            | (Side::OwnNode, Cause::OwnNode)
            | (Side::Itself, Cause::Itself)
            | (Side::Denied, Cause::DefaultDeny) => true,
            (Side::Allowed(rules), Cause::Rule(id)) => {
                let (policy, rule) = compiled.snapshot.names.rule(id).unwrap();
                rule.egress == egress
                    && rules
                        .iter()
                        .any(|(key, index)| key.to_string() == policy && *index == rule.index as usize)
            }
            _ => false,
        };
        prop_assert!(agrees, "{flow:?}: {side:?}, compiled {cause:?} (egress: {egress})");
    }
    Ok(())
}
