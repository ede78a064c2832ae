//! What the offline tools say of random clusters is what the naive evaluator says.

mod random;

use std::net::IpAddr;

use podgate_control::model::{Cluster, Protocol};
use podgate_control::oracle::{self, Flow, judge};
use podgate_control::tools::explain::{EndName, Explanation, PortQuery, Side, explain};
use podgate_control::tools::{Judge, Survey};
use podgate_flowtable::IpProtocol;
use proptest::prelude::*;
use proptest::sample::Index;
use random::cluster;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn explanations_hold_and_remedies_help(
        cluster in cluster(),
        asks in prop::collection::vec((any::<Index>(), any::<Index>(), any::<Index>()), 12),
    ) {
        let survey = Survey::of(cluster);
        let table = Judge::new(&survey.cluster).unwrap();
        let addresses = addresses(&survey.cluster);
        for (from, to, port) in asks {
            let (from, to) = (from.get(&addresses), to.get(&addresses));
            if from.is_ipv4() != to.is_ipv4() {
                continue;
            }
            let port = port.get(&queries()).clone();
            let answers =
                explain(&survey, &table, &EndName::Address(*from), &EndName::Address(*to), &port).unwrap();
            prop_assert_eq!(answers.len(), 1);
            holds(&survey.cluster, *from, *to, &port, &answers[0])?;
        }
    }
}

fn queries() -> Vec<PortQuery> {
    let ports = [1, 53, 54, 80, 81, 101, 8080, 65535];
    let numbers =
        Protocol::ALL.into_iter().flat_map(|protocol| ports.map(|port| PortQuery::Number(protocol, port)));
    numbers.chain([PortQuery::Icmp]).collect()
}

/// Those of pods and nodes, and some that nobody has.
fn addresses(cluster: &Cluster) -> Vec<IpAddr> {
    let pods = cluster.pods().values().flat_map(|pod| pod.addresses.iter().copied());
    let nodes = cluster.nodes().values().flat_map(|node| node.addresses.iter().copied());
    let outside = ["203.0.113.10", "10.0.0.77", "2001:db8::1"].map(|text| text.parse().unwrap());
    pods.chain(nodes).chain(outside).collect()
}

fn flow(from: IpAddr, to: IpAddr, port: &PortQuery) -> Flow {
    let (protocol, port) = match port {
        PortQuery::Number(Protocol::Tcp, port) => (IpProtocol::TCP, *port),
        PortQuery::Number(Protocol::Udp, port) => (IpProtocol::UDP, *port),
        PortQuery::Number(Protocol::Sctp, port) => (IpProtocol::SCTP, *port),
        _ if to.is_ipv4() => (IpProtocol::ICMP, 0),
        _ => (IpProtocol::ICMPV6, 0),
    };
    Flow { from, to, protocol, port }
}

fn holds(
    cluster: &Cluster,
    from: IpAddr,
    to: IpAddr,
    port: &PortQuery,
    answer: &Explanation,
) -> Result<(), TestCaseError> {
    let everything = podgate_control::compile::Locality::Everything;
    let flow = flow(from, to, port);
    let expected = judge(cluster, &everything, flow);
    prop_assert_eq!(answer.allowed, expected.allows(), "{:?}: {:?}, told {:?}", flow, expected, answer);
    for (side, expected) in [(&answer.egress, &expected.egress), (&answer.ingress, &expected.ingress)] {
        prop_assert_eq!(side.allowed, *expected != oracle::Side::Denied);
        same_rules(side, expected)?;
    }
    if !answer.allowed {
        let mut mended = cluster.clone();
        answer.remedies.iter().for_each(|remedy| remedy.apply(&mut mended));
        prop_assert!(judge(&mended, &everything, flow).allows(), "{:?}: {:?}", flow, answer.remedies);
    }
    Ok(())
}

/// A rule without a miss is one that allows, and no other is.
fn same_rules(side: &Side, expected: &oracle::Side) -> Result<(), TestCaseError> {
    let matching = side.policies.iter().flat_map(|policy| {
        let allowing = policy.rules.iter().filter(|rule| rule.misses.is_empty());
        allowing.map(|rule| (policy.policy.clone(), rule.rule.clone()))
    });
    let matching: Vec<(String, String)> = matching.collect();
    let allowing: Vec<(String, usize)> = match expected {
        oracle::Side::Allowed(rules) => {
            rules.iter().map(|(policy, index)| (policy.to_string(), *index)).collect()
        }
        _ => Vec::new(),
    };
    prop_assert_eq!(matching.len(), allowing.len(), "{:?} {:?}", matching, allowing);
    for ((told, rule), (policy, index)) in matching.iter().zip(&allowing) {
        prop_assert_eq!(told, policy);
        prop_assert!(rule.ends_with(&format!("[{index}]")), "{} {}", rule, index);
    }
    if let Some(rule) = &side.rule {
        prop_assert!(matching.iter().any(|(policy, index)| *policy == rule.policy && *index == rule.rule));
    }
    Ok(())
}
