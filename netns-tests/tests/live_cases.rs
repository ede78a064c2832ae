//! The truth tables of upstream's end-to-end tests, on live frames with real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use podgate_netns_tests::Turn;
use podgate_netns_tests::cases::{
    Address, Case, Family, Hosts, Judgement, Stage, Transport, World, act_on, directory, key_of, read_all,
};
use podgate_netns_tests::frame::{Route, Wire};
use podgate_netns_tests::traffic::{Reach, Server, ping, reach_within, reaches_udp};

/// How long a probe waits where the table says "denied"; the other ones may take longer.
const DENIED_AFTER: Duration = Duration::from_millis(500);
const ALLOWED_WITHIN: Duration = Duration::from_secs(10);

/// One question and what the table says.
struct Question {
    from: Address,
    to: Address,
    address: IpAddr,
    protocol: Transport,
    port: u16,
    expected: Judgement,
}

#[test]
fn e2e_cases_hold_on_live_frames() {
    let _turn = Turn::alone();
    let cases = read_all(&directory().join("e2e")).expect("cases");
    let asked = run(&cases);
    assert!(asked.cases >= 48 && asked.questions > 4000, "{asked:?}");
}

#[test]
fn dual_stack_cases_hold_on_live_frames() {
    let _turn = Turn::alone();
    let mut cases = read_all(&directory().join("edge")).expect("cases");
    cases.retain(|case| {
        let both = |ips: &[IpAddr]| ips.iter().any(IpAddr::is_ipv4) && ips.iter().any(IpAddr::is_ipv6);
        case.cluster.pods.iter().any(|pod| both(&pod.ips)) && Hosts::of(case).are_distinct()
    });
    let asked = run(&cases);
    assert!(asked.cases >= 1 && asked.v6 >= 74, "{asked:?}");
}

#[derive(Debug, Default)]
struct Asked {
    cases: usize,
    questions: usize,
    v6: usize,
}

fn run(cases: &[Case]) -> Asked {
    let mut asked = Asked::default();
    let mut stage: Option<(Stage, Vec<Server>)> = None;
    for case in cases {
        let hosts = Hosts::of(case);
        if stage.as_ref().is_none_or(|(stage, _)| !stage.fits(&hosts)) {
            drop(stage.take());
            stage = Some((Stage::set(hosts), Vec::new()));
        }
        let (stage, servers) = stage.as_mut().expect("set above");
        if servers.is_empty() {
            *servers = listen(stage, case);
        }
        let mut world = World::new(case).expect("a world");
        let mut policies: BTreeMap<_, _> =
            case.policies.iter().map(|policy| (key_of(policy).expect("a name"), policy.clone())).collect();
        for step in &case.steps {
            for action in &step.actions {
                world.apply(action).expect("an action");
                act_on(&mut policies, action).expect("an action");
            }
            stage.show(world.cluster(), &policies);
            let questions = questions(stage, &world, step);
            asked.questions += questions.len();
            asked.v6 += questions.iter().filter(|question| question.address.is_ipv6()).count();
            let wrong = ask(stage, &questions);
            assert!(
                wrong.is_empty(),
                "{} step {}: {} of {} wrong:\n{}\n{:?}",
                case.name,
                step.id,
                wrong.len(),
                questions.len(),
                wrong.join("\n"),
                stage.gateway().instance.events(&["--last", "20"])
            );
        }
        asked.cases += 1;
    }
    asked
}

fn listen(stage: &Stage, case: &Case) -> Vec<Server> {
    let mut servers = Vec::new();
    for pod in case.cluster.pods.iter().filter(|pod| !pod.host_network) {
        let space = stage.space(&Address::Pod(pod.key())).expect("its namespace");
        let ports: BTreeSet<u16> = pod
            .ports
            .iter()
            .filter(|port| matches!(port.protocol, Transport::Tcp | Transport::Udp))
            .map(|port| port.port)
            .collect();
        servers.extend(ports.into_iter().map(|port| Server::start_in(space, &pod.key().to_string(), port)));
    }
    servers
}

/// What the step's matrices and probes ask and can be asked here.
fn questions(stage: &Stage, world: &World, step: &podgate_netns_tests::cases::Step) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut add = |from: &Address, to: &Address, protocol, port, family: Option<Family>, expected| {
        // On one bridge there is one node: what others are to their own pods cannot be had.
        let pod_node = |key| world.cluster().pods().get(key).and_then(|pod| pod.node.as_deref());
        let of_other_nodes = match (from, to) {
            (Address::Node(node), Address::Pod(key)) => {
                let (is_own, is_here) = (pod_node(key) == Some(node), node == stage.own_node());
                is_own != is_here
            }
            _ => false,
        };
        if from == to || of_other_nodes || stage.space(from).is_none() {
            return;
        }
        let Ok(address) = world.resolve(to, family) else { return };
        let is_pod_here = matches!(to, Address::Pod(_)) && stage.space(to).is_some();
        // SCTP and the rest of the network are known by pods' ears only.
        if !is_pod_here && (protocol == Transport::Sctp || matches!(to, Address::Ip(_) | Address::Service(_)))
        {
            return;
        }
        if stage.space(to).is_none() || world.resolve(from, Some(family_of(address))).is_err() {
            return;
        }
        questions.push(Question { from: from.clone(), to: to.clone(), address, protocol, port, expected });
    };
    for matrix in &step.matrices {
        for (from, to, expected) in matrix.cells().expect("a matrix") {
            add(&from, &to, matrix.protocol, matrix.port, matrix.family, expected);
        }
    }
    for probe in &step.probes {
        if let Some(expected) = probe.judgement() {
            add(&probe.from, &probe.to, probe.protocol, probe.port.unwrap_or(0), probe.family, expected);
        }
    }
    questions
}

fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::IPv4 } else { Family::IPv6 }
}

/// Asks all at once; returns what came out wrong.
fn ask(stage: &Stage, questions: &[Question]) -> Vec<String> {
    let mut wrong = Vec::new();
    for some in questions.chunks(96) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .enumerate()
                .map(|(n, question)| scope.spawn(move || answer(stage, question, n)))
                .collect();
            for (thread, question) in asked.into_iter().zip(some) {
                let found = thread.join().expect("a probe");
                if found != question.expected {
                    let Question { from, to, address, protocol, port, expected } = question;
                    wrong.push(format!(
                        "{from} to {to} ({address}) {protocol:?} {port}: {found:?}, not {expected:?}"
                    ));
                }
            }
        });
    }
    wrong
}

fn answer(stage: &Stage, question: &Question, number: usize) -> Judgement {
    let at_most = match question.expected {
        Judgement::Allow => ALLOWED_WITHIN,
        Judgement::Deny => DENIED_AFTER,
    };
    let space = stage.space(&question.from).expect("asked only where there is one");
    let (address, port) = (question.address, question.port);
    Judgement::of(match question.protocol {
        Transport::Tcp => {
            matches!(reach_within(space, address, port, at_most), Reach::Connected | Reach::Refused)
        }
        Transport::Udp => reaches_udp(space, address, port, at_most),
        Transport::Icmp => ping(space, address, &format!("-c 1 -W {}", at_most.as_secs_f64())).received == 1,
        Transport::Sctp => sctp_arrives(stage, question, number as u16, at_most),
    })
}

/// There is no SCTP in this kernel: the frame is made by hand, and the pod's ear hears it or not.
fn sctp_arrives(stage: &Stage, question: &Question, number: u16, at_most: Duration) -> bool {
    let (Address::Pod(from), Address::Pod(to)) = (&question.from, &question.to) else { return false };
    let (from, to) = (stage.pod(from).expect("a pod"), stage.pod(to).expect("a pod"));
    let (own, other): (IpAddr, IpAddr) = match question.address {
        IpAddr::V4(address) => (from.v4.into(), address.into()),
        IpAddr::V6(address) => (from.v6.into(), address.into()),
    };
    let route = Route { from_mac: from.mac, to_mac: to.mac, from: own, to: other };
    let frame = route.sctp_init(20_000 + number, question.port);
    let ear = Wire::open(&to.space, "eth0");
    Wire::open(&from.space, "eth0").send(&frame);
    ear.find(at_most, |heard| (heard == frame).then_some(())).is_some()
}
