//! The compiled table says what the naive evaluator says, for every pair of addresses of random
//! clusters, and names a rule that indeed allows.

mod random;

use std::net::IpAddr;

use podgate_control::compile::{Compiled, Locality, Settings, compile};
use podgate_control::model::Cluster;
use podgate_control::oracle::{Flow, Side, judge};
use podgate_dataplane::policy::Cause;
use podgate_flowtable::{Addr, Epoch, IpProtocol};
use proptest::prelude::*;
use random::{cluster, locality, v4, v6};

/// Ports at and next to the bounds that random rules have.
const PORTS: [u16; 9] = [0, 1, 53, 54, 80, 81, 101, 8080, 65535];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_pair_of_addresses_gets_the_same_verdict(cluster in cluster(), locality in locality()) {
        let compiled = compile(&cluster, &locality, &[], Settings::new(Epoch(1), 7)).unwrap();
        let addresses = addresses(&cluster);
        for from in addresses.iter().copied() {
            for to in addresses.iter().copied().filter(|to| to.is_ipv4() == from.is_ipv4()) {
                for (protocol, port) in flows() {
                    same(&cluster, &locality, &compiled, Flow { from, to, protocol, port })?;
                }
            }
        }
    }
}

fn flows() -> impl Iterator<Item = (IpProtocol, u16)> {
    let with_ports = [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::SCTP];
    let flows = with_ports.into_iter().flat_map(|protocol| PORTS.map(|port| (protocol, port)));
    flows.chain([(IpProtocol::ICMP, 0), (IpProtocol::ICMPV6, 0), (IpProtocol(47), 0)])
}

/// Those of all pods and nodes, dead ones too, and some that nobody has.
fn addresses(cluster: &Cluster) -> Vec<IpAddr> {
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
