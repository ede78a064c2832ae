//! Every counter of the step: what moves it, by how much, at which port, and that no other one moves.

use podgate_dataplane::counters::PortCounts;
use podgate_dataplane::mac::Mac;
use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::verdict::{DropReason, Verdict};

use crate::frames::{self, ARP, IPV4, IPV6, Link, REQUEST, port};
use crate::step_service::world_with_services;
use crate::world::{
    DB, FREE, Moved, NODE_MAC, UNBOUND, WEB, World, from_pod, mac, policy, secs, snapshot, to_pod,
};

fn good() -> Vec<u8> {
    frames::udp(("10.0.0.3", 40000), ("10.0.0.1", 53), &[7; 92])
}

/// From free to web, whom nothing isolates from each other.
fn link() -> Link {
    from_pod(FREE, mac(WEB))
}

fn from_web(packet: &[u8]) -> Vec<u8> {
    from_pod(WEB, mac(DB)).ip(packet)
}

fn to_service(from: u16, service: &str, to: u16) -> Vec<u8> {
    from_pod(FREE, NODE_MAC).ip(&frames::syn(("10.0.0.3", from), (service, to)))
}

/// One frame for each reason, to be sent to a new world; some reasons need more than a frame.
fn frame_for(reason: DropReason) -> Option<Vec<u8>> {
    use DropReason::*;
    let web_to_db = |port| frames::syn(("10.0.0.1", 40000), ("10.0.0.2", port));
    let flags = |syn: bool, fin: bool| {
        let set = move |tcp: &mut etherparse::TcpHeader| (tcp.syn, tcp.ack, tcp.fin) = (syn, !syn, fin);
        frames::tcp(("10.0.0.1", 40000), ("10.0.0.2", 5432), set, &[])
    };
    Some(match reason {
        NoTag => {
            let mut frame = link().ip(&good());
            frame[12..14].copy_from_slice(&[8, 0]);
            frame
        }
        Truncated => link().ip(&good())[..40].to_vec(),
        VlanTagged => link().carry(0x8100, &[0; 46]),
        UnknownEthertype => link().carry(0x88cc, &[0; 46]),
        BadArp => link().carry(ARP, &[0; 46]),
        BadIpv4 => link().carry(IPV4, &[0; 46]),
        BadIpv6 => link().carry(IPV6, &[0; 46]),
        BadTransport => link().ip(&frames::raw("10.0.0.3", "10.0.0.1", 6, &[0; 20])),
        Martian => link().ip(&frames::raw("127.0.0.1", "10.0.0.1", 6, &[0; 20])),
        FragmentWithoutFirst => link().ip(&frames::fragment(&good(), 48, 100, 7)),
        BadFragment => from_web(&frames::fragment(&web_to_db(5432), 0, 8, 7)),
        UnknownEndpoint => from_pod(UNBOUND, mac(WEB)).ip(&good()),
        SpoofedMac => Link { source: mac(DB), ..link() }.ip(&good()),
        SpoofedIp => link().ip(&frames::udp(("10.0.0.2", 1), ("10.0.0.1", 2), &[])),
        SpoofedArp => from_pod(FREE, Mac::BROADCAST)
            .carry(ARP, &frames::arp(REQUEST, mac(FREE), "10.0.0.2", "10.0.0.1")),
        SpoofedNd => link().ip(&frames::nd("fd00::3", "fd00::1", 136, "fd00::2", Some(mac(FREE)))),
        SpoofedLocal => to_pod(DB).ip(&web_to_db(5432)),
        NotForThisPod => to_pod(FREE).ip(&frames::udp(("8.8.8.8", 1), ("10.0.0.1", 2), &[])),
        TunnelToNode => {
            from_pod(FREE, NODE_MAC).ip(&frames::udp(("10.0.0.3", 40000), ("10.0.0.254", 8472), &[0; 16]))
        }
        PolicyEgress => from_pod(WEB, mac(FREE)).ip(&frames::syn(("10.0.0.1", 40000), ("10.0.0.3", 80))),
        PolicyIngress => from_web(&web_to_db(22)),
        NoFlow => from_web(&flags(false, false)),
        TcpInvalid => from_web(&flags(true, true)),
        IcmpUnrelated => link().ip(&frames::icmp_error("10.0.0.3", "10.0.0.1", 3, &web_to_db(22))),
        _ => return None,
    })
}

/// The same for what one frame does not bring about; the last one is the one that counts.
fn moved_by(reason: DropReason) -> Moved {
    let numbered = |number| frames::udp(("10.0.0.3", 40000 + number), ("10.0.0.1", 53), &[7; 92]);
    // As many as it takes to be refused for it.
    let until_refused = |world: &World, frame: &dyn Fn(u16) -> Vec<u8>| {
        let refused = (0..500).map(|number| world.send(&frame(number)));
        let refused = refused.into_iter().find(|outcome| matches!(outcome.verdict, Verdict::Drop(_)));
        refused.unwrap().counted
    };
    match reason {
        DropReason::NoSnapshot => {
            let mut world = World::new();
            world.snapshot = None;
            world.send(&link().ip(&good())).counted
        }
        DropReason::FragmentQuota => {
            let first = |number| link().ip(&frames::fragment(&good(), 0, 48, number));
            until_refused(&World::new(), &first)
        }
        DropReason::FlowTableFull => {
            let world = World::with_capacity(1);
            let answer = frames::udp(("10.0.0.1", 53), ("10.0.0.3", 40000), &[]);
            for at in [10, 12, 14] {
                world.send_at(&link().ip(&numbered(0)), secs(at));
                world.send_at(&from_pod(WEB, mac(FREE)).ip(&answer), secs(at));
            }
            world.send_at(&link().ip(&numbered(1)), secs(14)).counted
        }
        DropReason::FlowQuota => {
            until_refused(&World::with_quota(2, 3), &|number| link().ip(&numbered(number)))
        }
        DropReason::HalfOpenQuota => {
            until_refused(&World::with_quota(3, 2), &|number| link().ip(&numbered(number)))
        }
        DropReason::ServiceNoBackend => {
            world_with_services().send(&to_service(40000, "10.96.0.11", 80)).counted
        }
        DropReason::ServiceNoPort => world_with_services().send(&to_service(40000, "10.96.0.11", 81)).counted,
        DropReason::ServiceClash => {
            let world = world_with_services();
            world.send(&to_service(40000, "10.96.0.12", 80));
            world.send(&to_service(40000, "10.0.1.9", 8080)).counted
        }
        DropReason::TxFull => {
            let world = World::new();
            let mut frame = link().ip(&good());
            world.gate().step(&mut frame, secs(10));
            world.counting(|| world.gate().drop_unsent(&frame, secs(10))).1
        }
        reason => {
            let frame = frame_for(reason).unwrap_or_else(|| panic!("what is dropped for {}?", reason.name()));
            World::new().send(&frame).counted
        }
    }
}

#[test]
fn every_reason_counts_one_at_one_port() {
    use DropReason::*;
    for &reason in &DropReason::ALL[DropReason::STEERING..] {
        let port = match reason {
            NoTag => 0,
            UnknownEndpoint => UNBOUND,
            SpoofedLocal => DB,
            // What finds no room to be sent is counted where it was going.
            BadFragment | PolicyEgress | PolicyIngress | NoFlow | TcpInvalid | TxFull => WEB,
            _ => FREE,
        };
        assert_eq!(moved_by(reason), [(port, reason.name().to_owned(), 1)], "{}", reason.name());
    }
}

#[test]
fn every_turn_of_a_flow_counts_one_at_one_port() {
    let question = frames::udp(("10.0.0.1", 40000), ("10.0.0.2", 53), &[]);
    let answer = frames::udp(("10.0.0.2", 53), ("10.0.0.1", 40000), &[]);
    let bytes = question.len() as u64 + 14;
    let mut world = World::new();
    let forwarded = |port: u16, others: &[&str]| {
        let mut counted = vec![(port, "from-pod packets".into(), 1), (port, "from-pod bytes".into(), bytes)];
        counted.extend(others.iter().map(|&name| (port, name.to_owned(), 1)));
        counted
    };
    let (question, answer) = (from_web(&question), from_pod(DB, mac(WEB)).ip(&answer));
    let publish = |world: &mut World, epoch, is_closed| {
        world.snapshot = Some(snapshot(epoch, policy(is_closed), Switches::default()));
    };
    assert_eq!(world.send(&question).counted, forwarded(WEB, &["opened"]));
    assert_eq!(world.send(&answer).counted, forwarded(DB, &[]));
    publish(&mut world, 2, false);
    // Where the first packet after the change is seen.
    assert_eq!(world.send(&answer).counted, forwarded(DB, &["redecided"]));
    assert_eq!(world.send(&question).counted, forwarded(WEB, &[]));
    publish(&mut world, 3, true);
    let cut = [(DB, "cut".to_owned(), 1), (DB, "policy-egress".to_owned(), 1)];
    assert_eq!(world.send(&answer).counted, cut);
    assert_eq!(world.send(&question).counted, [(WEB, "policy-egress".to_owned(), 1)]);
    let stats = world.flows.stats();
    assert_eq!(
        (stats.opened, stats.removed, world.counters.port(Some(port(FREE)))),
        (1, 1, PortCounts::default())
    );
}
