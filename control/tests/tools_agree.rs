//! What the offline tools say of random clusters is what the naive evaluator says.

mod random;

use std::net::IpAddr;

use podgate_control::compile::Locality;
use podgate_control::model::{Cluster, NetworkPolicy, Protocol};
use podgate_control::oracle::{self, Flow, judge};
use podgate_control::tools::check::{CheckOptions, adds_nothing, check};
use podgate_control::tools::connectivity::connectivity;
use podgate_control::tools::diff::diff;
use podgate_control::tools::explain::{EndName, Explanation, PortQuery, Side, explain};
use podgate_control::tools::{Grouping, Judge, Party, Reach, Survey};
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn connectivity_holds_for_every_pair(cluster in cluster()) {
        let survey = Survey::of(cluster);
        let table = Judge::new(&survey.cluster).unwrap();
        let found = connectivity(&survey, &table, Grouping::Pod, None);
        let everything = Locality::Everything;
        for pair in &found.pairs {
            let (from, to) = (&found.parties[pair.from], &found.parties[pair.to]);
            for port in queries() {
                let (sources, destinations) = (from.addresses.concat(), to.addresses.concat());
                let pairs = sources.iter().flat_map(|one| destinations.iter().map(move |other| (*one, *other)));
                let of_family = pairs.filter(|(one, other)| one.is_ipv4() == other.is_ipv4());
                let verdicts = of_family.map(|(one, other)| judge(&survey.cluster, &everything, flow(one, other, &port)));
                let verdicts: Vec<bool> = verdicts.map(|verdict| verdict.allows()).collect();
                let asked = flow(from.addresses[0][0], to.addresses[0][0], &port);
                let told = [&pair.all, &pair.some].map(|reach| reach.has(asked.protocol, asked.port));
                let expected = [verdicts.iter().all(|allows| *allows), verdicts.contains(&true)];
                prop_assert_eq!(told, expected, "{} -> {} {:?}", &from.name, &to.name, port);
            }
            let again = connectivity(&survey, &table, Grouping::Pod, Some(&queries()[2]));
            let narrowed = again.pairs.iter().find(|other| (other.from, other.to) == (pair.from, pair.to)).unwrap();
            let tcp_54 = Reach::of(IpProtocol::TCP, 54);
            prop_assert_eq!(&*narrowed.some, &pair.some.intersection(&tcp_54));
        }
    }

    #[test]
    fn a_span_outside_is_alike_throughout(cluster in cluster(), bits in any::<u32>()) {
        let survey = Survey::of(cluster);
        let table = Judge::new(&survey.cluster).unwrap();
        let address = IpAddr::from(bits.to_be_bytes());
        let found = connectivity(&survey, &table, Grouping::Pod, None);
        let mut spans = found.parties.iter().filter(|party| party.outside).flat_map(|party| party.addresses.iter().flatten());
        let has_ipv4 = found.parties.iter().any(|party| !party.outside && party.addresses.iter().flatten().any(IpAddr::is_ipv4));
        let known = spans.any(|sample| table.resolve(*sample).identity == table.resolve(address).identity);
        prop_assert!(known || table.name(address).is_some() || !has_ipv4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_is_that_of_the_verdicts(old in cluster(), new in cluster()) {
        let (old, new) = Survey::of_both(old, new);
        let sides = [&old, &new].map(|survey| Judge::new(&survey.cluster).unwrap());
        let found = diff(&old, &new, Grouping::Pod).unwrap();
        for (more, less) in found.allowed.pairs.iter().zip(&found.denied.pairs) {
            let (from, to) = (&found.allowed.parties[more.from], &found.allowed.parties[more.to]);
            for port in queries() {
                let mut expected = [false, false];
                for v4 in [true, false] {
                    let [was, is] = sides.each_ref().map(|judge| all_may(judge, from, to, v4, &port));
                    if let (Some(was), Some(is)) = (was, is) {
                        expected[0] |= is && !was;
                        expected[1] |= was && !is;
                    }
                }
                let asked = flow(from.addresses[0][0], to.addresses[0][0], &port);
                let told = [more, less].map(|pair| pair.some.has(asked.protocol, asked.port));
                prop_assert_eq!(told, expected, "{} -> {} {:?}", &from.name, &to.name, port);
            }
        }
        prop_assert!(diff(&old, &old, Grouping::Pod).unwrap().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_adds_nothing_can_be_removed(mut cluster in cluster()) {
        cluster = Survey::of(cluster).cluster;
        let mut without = cluster.clone();
        for policy in cluster.policies().values().rev() {
            let mut copied = without.clone();
            let mut copy = NetworkPolicy::clone(policy);
            copy.key.name.push_str("-copy");
            copied.put_policy(copy);
            prop_assert!(adds_nothing(&copied, policy).unwrap(), "{:?}", policy);
            if adds_nothing(&without, policy).unwrap() {
                without.remove_policy(&policy.key);
            }
        }
        let (old, new) = (Survey::of(cluster), Survey::of(without));
        prop_assert!(diff(&old, &new, Grouping::Pod).unwrap().is_empty(), "{:?}", new.cluster.policies().keys());
        // Checks come to an end whatever there is.
        let table = Judge::new(&old.cluster).unwrap();
        check(&old, &table, &CheckOptions::default()).unwrap();
    }
}

/// Whether every address of a family may open the port to every other, by the naive evaluator.
fn all_may(table: &Judge, from: &Party, to: &Party, v4: bool, port: &PortQuery) -> Option<bool> {
    let addresses = |party: &Party| -> Vec<IpAddr> {
        let addresses = match party.pods.first() {
            Some(pod) => {
                let pod = &table.cluster().pods()[&pod.parse().unwrap()];
                let is_its_own = |address: &&IpAddr| table.name(**address) == Some(&pod.key.to_string());
                pod.addresses.iter().filter(is_its_own).copied().collect()
            }
            None => party.addresses.concat(),
        };
        addresses.into_iter().filter(|address| address.is_ipv4() == v4).collect()
    };
    let (from, to) = (addresses(from), addresses(to));
    let flows = from.iter().flat_map(|one| to.iter().map(move |other| flow(*one, *other, port)));
    let verdicts: Vec<bool> =
        flows.map(|flow| judge(table.cluster(), &Locality::Everything, flow).allows()).collect();
    (!verdicts.is_empty()).then(|| verdicts.iter().all(|allows| *allows))
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
    let everything = Locality::Everything;
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
