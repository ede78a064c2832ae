//! Connections to Services: what becomes of every byte of their frames.
//!
//! | Service | port | goes to |
//! |---|---|---|
//! | 10.96.0.10, fd96::10 | 80/TCP, 53/UDP, 80/SCTP | db: 5432/TCP, 53/UDP, 5432/SCTP |
//! | 10.96.0.11 | 80/TCP, 53/UDP | nobody |
//! | 10.96.0.12 | 80/TCP | 10.0.1.9:8080, a pod of another node |
//! | 10.96.0.13, fd96::13 | 80/TCP, 53/UDP | free: 8080/TCP, 5353/UDP |
//! | 10.96.0.14 | 4789/UDP | the node |

use std::sync::Arc;
use std::time::Duration;

use etherparse::{PacketHeaders, TransportHeader};
use podgate_dataplane::answer::answer;
use podgate_dataplane::events::EventKind;
use podgate_dataplane::policy::Cause;
use podgate_dataplane::service::{Maglev, ServiceKey, ServicePort, Services};
use podgate_dataplane::snapshot::{Snapshot, Switches};
use podgate_dataplane::step::{Recheck, recheck};
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::{DropReason, Verdict};
use podgate_flowtable::{Addr, Epoch, IpProtocol, Target};

use crate::frames::{self, ip, port, syn, tcp, udp};
use crate::world::{
    DB, DB_FROM_WEB, FREE, NODE_MAC, Outcome, WEB, WEB_TO_DB, World, from_pod, mac, policy, secs, snapshot,
    to_pod,
};

const PAIRS: [(&str, &str, &str, &str); 2] =
    [("10.0.0.1", "10.96.0.10", "10.0.0.2", "10.0.0.3"), ("fd00::1", "fd96::10", "fd00::2", "fd00::3")];

fn target(addr: &str, port: u16) -> Target {
    Target { addr: ip(addr).into(), port }
}

fn service(
    addr: &str,
    port: u16,
    protocol: IpProtocol,
    backends: &[(&str, u16)],
) -> (ServiceKey, ServicePort) {
    let addr = Addr::from(ip(addr));
    let backends = backends.iter().map(|(addr, port)| target(addr, *port)).collect();
    let port_of = ServicePort {
        name: "x/s".into(),
        backends: Arc::new(Maglev::new(backends)),
        ..ServicePort::default()
    };
    (ServiceKey { addr, port, protocol }, port_of)
}

fn services() -> Vec<(ServiceKey, ServicePort)> {
    let mut all = Vec::new();
    for (service_ip, db) in [("10.96.0.10", "10.0.0.2"), ("fd96::10", "fd00::2")] {
        all.push(service(service_ip, 80, IpProtocol::TCP, &[(db, 5432)]));
        all.push(service(service_ip, 53, IpProtocol::UDP, &[(db, 53)]));
        all.push(service(service_ip, 80, IpProtocol::SCTP, &[(db, 5432)]));
    }
    for (service_ip, free) in [("10.96.0.13", "10.0.0.3"), ("fd96::13", "fd00::3")] {
        all.push(service(service_ip, 80, IpProtocol::TCP, &[(free, 8080)]));
        all.push(service(service_ip, 53, IpProtocol::UDP, &[(free, 5353)]));
    }
    all.push(service("10.96.0.11", 80, IpProtocol::TCP, &[]));
    all.push(service("10.96.0.11", 53, IpProtocol::UDP, &[]));
    all.push(service("10.96.0.12", 80, IpProtocol::TCP, &[("10.0.1.9", 8080)]));
    all.push(service("10.96.0.14", 4789, IpProtocol::UDP, &[("10.0.0.254", 4789)]));
    all
}

fn with(epoch: u32, services: Vec<(ServiceKey, ServicePort)>, is_closed: bool) -> Snapshot {
    snapshot(epoch, policy(is_closed), Switches::default()).with_services(Services::new(services, 7))
}

pub fn world_with_services() -> World {
    World { snapshot: Some(with(1, services(), false)), ..World::new() }
}

/// What a pod sends to an address that is not on its link.
fn out(pod: u16, packet: &[u8]) -> Vec<u8> {
    from_pod(pod, NODE_MAC).ip(packet)
}

/// It went on as `expected`, every byte.
#[track_caller]
fn became(outcome: &Outcome, tag: Tag, expected: &[u8]) {
    assert_eq!(outcome.verdict, Verdict::Forward(tag));
    assert_eq!(outcome.after, expected, "\n{:02x?}\n{expected:02x?}", outcome.after);
}

/// A frame on its way into `pod`, as it was sent by `sender`.
fn into_pod(pod: u16, sender: u16, packet: &[u8]) -> Vec<u8> {
    frames::Link::new(Tag::to_pod(port(pod)), mac(sender), mac(pod)).ip(packet)
}

#[test]
fn a_connection_goes_to_the_backend_and_comes_back_from_the_service() {
    for (web, service, db, _) in PAIRS {
        let world = world_with_services();
        let opened = world.send(&out(WEB, &syn((web, 40000), (service, 80))));
        became(&opened, Tag::to_pod(port(DB)), &into_pod(DB, WEB, &syn((web, 40000), (db, 5432))));
        let [event] = &opened.events[..] else { panic!("{:?}", opened.events) };
        assert_eq!(event.kind, EventKind::FlowOpened);
        assert_eq!(event.called, Some(target(service, 80)));
        assert_eq!(event.tuple.unwrap().destination(), target(db, 5432));
        assert_eq!(
            event.causes.map(|causes| (causes.egress, causes.ingress)),
            Some((WEB_TO_DB, DB_FROM_WEB))
        );
        assert_eq!(opened.flows, [0, 1]);

        let answers = |source: &str, source_port: u16| {
            let numbers = |tcp: &mut etherparse::TcpHeader| {
                (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, 1001);
            };
            tcp((source, source_port), (web, 40000), numbers, &[])
        };
        // On the link, or by way of the router: the gateway knows where it belongs.
        for destination in [mac(WEB), NODE_MAC] {
            let answered = world.send(&from_pod(DB, destination).ip(&answers(db, 5432)));
            became(&answered, Tag::to_pod(port(WEB)), &into_pod(WEB, DB, &answers(service, 80)));
            assert_eq!(answered.events, []);
        }
        let data = |to: (&str, u16)| {
            let numbers = |tcp: &mut etherparse::TcpHeader| {
                (tcp.ack, tcp.psh, tcp.sequence_number, tcp.acknowledgment_number) = (true, true, 1001, 1001);
            };
            tcp((web, 40000), to, numbers, b"odd")
        };
        let sent = world.send(&out(WEB, &data((service, 80))));
        became(&sent, Tag::to_pod(port(DB)), &into_pod(DB, WEB, &data((db, 5432))));
        assert_eq!((sent.flows, world.flows.stats().opened), ([1, 1], 1));
    }
}

#[test]
fn policy_judges_the_backend_and_its_port() {
    // Policy allows db's 5432 and 53 to web: neither the Service's address nor its port.
    for (web, service, db, _) in PAIRS {
        let world = World { snapshot: Some(with(1, services(), true)), ..World::new() };
        let denied = world.send(&out(WEB, &syn((web, 40000), (service, 80))));
        let event = denied.dropped(DropReason::PolicyEgress);
        assert_eq!(
            (event.called, event.tuple.unwrap().destination()),
            (Some(target(service, 80)), target(db, 5432))
        );
        // Allowed by the Service's port, but not by the pod's.
        let other = vec![self::service(service, 5432, IpProtocol::TCP, &[(db, 80)])];
        let world = World { snapshot: Some(with(1, other, false)), ..World::new() };
        world.send(&out(WEB, &syn((web, 40000), (service, 5432)))).denied(
            DropReason::PolicyIngress,
            WEB_TO_DB,
            Cause::DefaultDeny,
        );
    }
}

#[test]
fn datagrams_with_and_without_a_checksum() {
    for (web, service, db, _) in PAIRS {
        let world = world_with_services();
        let ask = |to: &str| udp((web, 40000), (to, 53), b"question");
        became(&world.send(&out(WEB, &ask(service))), Tag::to_pod(port(DB)), &into_pod(DB, WEB, &ask(db)));
        let tell = |from: &str| udp((from, 53), (web, 40000), b"answer");
        became(
            &world.send(&from_pod(DB, mac(WEB)).ip(&tell(db))),
            Tag::to_pod(port(WEB)),
            &into_pod(WEB, DB, &tell(service)),
        );
    }
    let world = world_with_services();
    let without = |to: &str| {
        let mut packet = udp(("10.0.0.1", 40000), (to, 53), b"question");
        packet[26..28].fill(0);
        packet
    };
    became(
        &world.send(&out(WEB, &without("10.96.0.10"))),
        Tag::to_pod(port(DB)),
        &into_pod(DB, WEB, &without("10.0.0.2")),
    );
}

#[test]
fn no_sum_of_udp_becomes_zero() {
    // Over all payloads of two bytes some sum comes out as zero, which UDP writes as ones.
    let world = world_with_services();
    let mut ones = 0;
    for word in 0..=u16::MAX {
        let ask = |to: &str| udp(("10.0.0.1", 40000), (to, 53), &word.to_be_bytes());
        let expected = into_pod(DB, WEB, &ask("10.0.0.2"));
        let mut frame = out(WEB, &ask("10.96.0.10"));
        world.gate().step(&mut frame, secs(10));
        assert_eq!(frame, expected);
        ones += u32::from(frame[44..46] == [0xff, 0xff]);
    }
    assert!(ones >= 1);
}

#[test]
fn sctp_gets_a_crc_of_its_own_again() {
    let world = world_with_services();
    let init = |to: &str, to_port| {
        let mut packet = frames::sctp(("10.0.0.1", 40000), (to, to_port), 0, 1);
        // An etherparse packet's IP sum; ours here is left out by the builder.
        let crc = crc32c::crc32c(&packet[20..]).to_le_bytes();
        packet[28..32].copy_from_slice(&crc);
        with_ip_sum(packet)
    };
    // Policy has nothing to say about SCTP to db: free may.
    let free = |packet: Vec<u8>| {
        let mut packet = packet;
        packet[15] = 3;
        packet[10..12].fill(0);
        with_ip_sum(packet)
    };
    let all = vec![service("10.96.0.15", 80, IpProtocol::SCTP, &[("10.0.1.9", 5432)])];
    let world = World { snapshot: Some(with(1, all, false)), ..world };
    let sent = world.send(&out(FREE, &free(init("10.96.0.15", 80))));
    became(&sent, Tag::from_pod(port(FREE)), &out(FREE, &free(init("10.0.1.9", 5432))));
}

fn with_ip_sum(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let mut sum: u32 =
        packet[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}

#[test]
fn a_backend_of_another_node_is_reached_through_the_bridge() {
    let world = world_with_services();
    let ask = |to: (&str, u16)| out(FREE, &syn(("10.0.0.3", 40000), to));
    became(&world.send(&ask(("10.96.0.12", 80))), Tag::from_pod(port(FREE)), &ask(("10.0.1.9", 8080)));
    let numbers = |tcp: &mut etherparse::TcpHeader| {
        (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, 1001);
    };
    let answers = |from: (&str, u16)| to_pod(FREE).ip(&tcp(from, ("10.0.0.3", 40000), numbers, &[]));
    became(&world.send(&answers(("10.0.1.9", 8080))), Tag::to_pod(port(FREE)), &answers(("10.96.0.12", 80)));
}

#[test]
fn a_pod_reaches_itself() {
    for (free, service) in [("10.0.0.3", "10.96.0.13"), ("fd00::3", "fd96::13")] {
        let world = world_with_services();
        let own = Tag::to_pod(port(FREE));
        let asked = world.send(&out(FREE, &syn((free, 40000), (service, 80))));
        became(&asked, own, &into_pod(FREE, FREE, &syn((service, 40000), (free, 8080))));
        let [event] = &asked.events[..] else { panic!("{:?}", asked.events) };
        assert_eq!(event.causes.map(|causes| causes.egress), Some(Cause::Itself));
        let numbers = |tcp: &mut etherparse::TcpHeader| {
            (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, 1001);
        };
        let answered = world.send(&out(FREE, &tcp((free, 8080), (service, 40000), numbers, &[])));
        became(&answered, own, &into_pod(FREE, FREE, &tcp((service, 80), (free, 40000), numbers, &[])));
        // The same by UDP, where the answer could open a flow of its own.
        let asked = world.send(&out(FREE, &udp((free, 40000), (service, 53), b"q")));
        became(&asked, own, &into_pod(FREE, FREE, &udp((service, 40000), (free, 5353), b"q")));
        let answered = world.send(&out(FREE, &udp((free, 5353), (service, 40000), b"a")));
        became(&answered, own, &into_pod(FREE, FREE, &udp((service, 53), (free, 40000), b"a")));
        assert_eq!((answered.events.len(), answered.flows), (0, [2, 2]));
    }
}

#[test]
fn fragments_follow_the_first_to_the_backend() {
    for (web, service, db, _) in PAIRS {
        let world = world_with_services();
        let ask = |to: &str| udp((web, 40000), (to, 53), &[7; 92]);
        let (asked, real) = (ask(service), ask(db));
        for (start, end) in [(0, 48), (48, 96), (96, 100)] {
            let sent = world.send(&out(WEB, &frames::fragment_with_sum(&asked, start, end, 7)));
            let expected = into_pod(DB, WEB, &frames::fragment_with_sum(&real, start, end, 7));
            became(&sent, Tag::to_pod(port(DB)), &expected);
        }
        let tell = |from: &str| udp((from, 53), (web, 40000), &[9; 92]);
        for (start, end) in [(0, 48), (48, 100)] {
            let sent =
                world.send(&from_pod(DB, mac(WEB)).ip(&frames::fragment_with_sum(&tell(db), start, end, 8)));
            let expected = into_pod(WEB, DB, &frames::fragment_with_sum(&tell(service), start, end, 8));
            became(&sent, Tag::to_pod(port(WEB)), &expected);
        }
    }
}

#[test]
fn nobody_behind_a_port_is_said_at_once() {
    let world = world_with_services();
    for (packet, reason) in [
        (syn(("10.0.0.3", 40000), ("10.96.0.11", 80)), DropReason::ServiceNoBackend),
        (syn(("10.0.0.3", 40000), ("10.96.0.11", 81)), DropReason::ServiceNoPort),
    ] {
        let frame = out(FREE, &packet);
        let outcome = world.send(&frame);
        assert_eq!(outcome.verdict, Verdict::Reject(reason));
        assert_eq!((&outcome.after, outcome.flows), (&frame, [0, 0]));
        assert_eq!(outcome.counted, [(FREE, reason.name().to_owned(), 1)]);
        let [event] = &outcome.events[..] else { panic!("{:?}", outcome.events) };
        assert_eq!(event.verdict, outcome.verdict);
        let told = answer(&frame).unwrap();
        assert_eq!(
            &told[..18],
            &frames::Link::new(Tag::to_pod(port(FREE)), NODE_MAC, mac(FREE)).carry(0x0800, &[])[..]
        );
        let parsed = PacketHeaders::from_ip_slice(&told[18..]).unwrap();
        let Some(TransportHeader::Tcp(reset)) = parsed.transport else { panic!("{parsed:?}") };
        assert!(reset.rst && reset.ack && !reset.syn);
        assert_eq!((reset.sequence_number, reset.acknowledgment_number), (0, 1001));
        assert_eq!((reset.destination_port, &told[30..34]), (40000, &[10, 96, 0, 11][..]));
    }
    let asked = udp(("10.0.0.3", 40000), ("10.96.0.11", 53), b"question");
    let frame = out(FREE, &asked);
    assert_eq!(world.send(&frame).verdict, Verdict::Reject(DropReason::ServiceNoBackend));
    let told = answer(&frame).unwrap();
    // Port unreachable, about this packet.
    assert_eq!((told[27], &told[38..40], &told[46..]), (1, &[3, 3][..], &asked[..]));
    // The first of its fragments stands for a datagram.
    let first =
        out(FREE, &frames::fragment_with_sum(&udp(("10.0.0.3", 1), ("10.96.0.11", 53), &[1; 92]), 0, 48, 7));
    assert_eq!(world.send(&first).verdict, Verdict::Reject(DropReason::ServiceNoBackend));
    let told = answer(&first).unwrap();
    assert_eq!((told[27], &told[38..40], &told[46..]), (1, &[3, 3][..], &first[18..]));
    let six = out(FREE, &udp(("fd00::3", 40000), ("fd96::13", 54), &[1; 1000]));
    assert_eq!(world.send(&six).verdict, Verdict::Reject(DropReason::ServiceNoPort));
    let told = answer(&six).unwrap();
    assert_eq!((&told[58..60], told.len()), (&[1, 4][..], 18 + 40 + 8 + 128));
    // What belongs to no connection and is no opening is no business of the Service's.
    let stray = out(FREE, &tcp(("10.0.0.3", 1), ("10.96.0.11", 80), |tcp| tcp.ack = true, &[]));
    world.send(&stray).dropped(DropReason::NoFlow);
    // A ping has no port.
    let ping = out(FREE, &frames::query("10.0.0.3", "10.96.0.10", 8, 7));
    assert_eq!(world.send(&ping).verdict, Verdict::Reject(DropReason::ServiceNoPort));
    assert_eq!(answer(&ping), None);
}

#[test]
fn errors_speak_of_what_their_receiver_knows() {
    for (web, service, db, _) in PAIRS {
        let (icmp_type, code) = if web.contains('.') { (3, 3) } else { (1, 4) };
        let world = world_with_services();
        let ask = |to: &str| udp((web, 40000), (to, 53), b"question");
        world.send(&out(WEB, &ask(service)));
        // db's kernel: nothing listens.
        let error = |from: &str, to: &str, about: &[u8]| {
            frames::icmp_error_with_sum(from, to, icmp_type, code, about)
        };
        let told = world.send(&from_pod(DB, mac(WEB)).ip(&error(db, web, &ask(db))));
        became(&told, Tag::to_pod(port(WEB)), &into_pod(WEB, DB, &error(service, web, &ask(service))));
        // A router on the way has an address of its own.
        let router = if web.contains('.') { "192.0.2.1" } else { "2001:db8::1" };
        let told = world.send(&to_pod(WEB).ip(&error(router, web, &ask(db))));
        became(&told, Tag::to_pod(port(WEB)), &to_pod(WEB).ip(&error(router, web, &ask(service))));
        // web has closed its socket when the answer comes.
        let tell = |from: &str| udp((from, 53), (web, 40000), b"answer");
        world.send(&from_pod(DB, mac(WEB)).ip(&tell(db)));
        let told = world.send(&out(WEB, &error(web, service, &tell(service))));
        became(&told, Tag::to_pod(port(DB)), &into_pod(DB, WEB, &error(web, db, &tell(db))));
        // About the answer of another Service, of the backend itself, of nobody.
        let other = if web.contains('.') { "10.96.0.13" } else { "fd96::13" };
        world.send(&out(WEB, &error(web, other, &tell(other)))).dropped(DropReason::IcmpUnrelated);
    }
}

#[test]
fn what_is_sent_by_udp_leaves_a_backend_that_is_gone() {
    let ask = |world: &World| world.send(&out(FREE, &udp(("10.0.0.3", 40000), ("10.96.0.20", 53), b"q")));
    let behind = |backends: &[(&str, u16)]| vec![service("10.96.0.20", 53, IpProtocol::UDP, backends)];
    let mut world = World { snapshot: Some(with(1, behind(&[("10.0.1.9", 53)]), false)), ..World::new() };
    assert_eq!(ask(&world).events.len(), 1);
    world.snapshot = Some(with(2, behind(&[("10.0.1.9", 53), ("10.0.1.8", 53)]), false));
    assert_eq!(ask(&world).events.len(), 0, "it stays while its backend is there");
    world.snapshot = Some(with(3, behind(&[("10.0.1.8", 53)]), false));
    let moved = ask(&world);
    became(&moved, Tag::from_pod(port(FREE)), &out(FREE, &udp(("10.0.0.3", 40000), ("10.0.1.8", 53), b"q")));
    assert_eq!((moved.events.len(), moved.flows), (1, [1, 1]));
    // Without a packet of its own, where live flows are kept.
    let switches = Switches { recheck_live_flows: false, ..Switches::default() };
    let mut kept =
        snapshot(4, policy(false), switches).with_services(Services::new(behind(&[("10.0.1.8", 53)]), 7));
    let view = || world.flows.views().next().unwrap();
    assert_eq!(recheck(&world.flows, &kept, &view(), secs(11)), Recheck::Allowed);
    kept = snapshot(5, policy(false), switches).with_services(Services::new(behind(&[("10.0.1.7", 53)]), 7));
    assert_eq!(recheck(&world.flows, &kept, &view(), secs(11)), Recheck::Released);
    assert_eq!(world.flows.len(), 0);
    // TCP ends by itself.
    let tcp_behind = |backends: &[(&str, u16)]| vec![service("10.96.0.20", 80, IpProtocol::TCP, backends)];
    let mut world = World { snapshot: Some(with(1, tcp_behind(&[("10.0.1.9", 80)]), false)), ..World::new() };
    let asked = || out(FREE, &syn(("10.0.0.3", 40000), ("10.96.0.20", 80)));
    world.send(&asked());
    world.snapshot = Some(with(2, tcp_behind(&[("10.0.1.8", 80)]), false));
    became(
        &world.send(&asked()),
        Tag::from_pod(port(FREE)),
        &out(FREE, &syn(("10.0.0.3", 40000), ("10.0.1.9", 80))),
    );
}

/// Opened when nobody knew that the address was a Service's: it was judged as any address outside.
#[test]
fn what_was_opened_to_the_address_itself_is_not_kept() {
    let behind = || vec![service("10.96.0.20", 53, IpProtocol::UDP, &[("10.0.1.9", 5353)])];
    let ask = || out(FREE, &udp(("10.0.0.3", 40000), ("10.96.0.20", 53), b"q"));
    let connection = |flags: fn(&mut etherparse::TcpHeader)| {
        out(FREE, &tcp(("10.0.0.3", 40000), ("10.96.0.20", 80), flags, &[]))
    };
    let mut world = World { snapshot: Some(with(1, Vec::new(), false)), ..World::new() };
    became(&world.send(&ask()), Tag::from_pod(port(FREE)), &ask());
    world.send(&connection(|tcp| tcp.syn = true));
    let numbers = |tcp: &mut etherparse::TcpHeader| {
        (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, 1001);
    };
    world.send(&to_pod(FREE).ip(&tcp(("10.96.0.20", 80), ("10.0.0.3", 40000), numbers, &[])));
    world.snapshot = Some(with(2, behind(), false));
    let expected = out(FREE, &udp(("10.0.0.3", 40000), ("10.0.1.9", 5353), b"q"));
    became(&world.send(&ask()), Tag::from_pod(port(FREE)), &expected);
    let data =
        connection(|tcp| (tcp.ack, tcp.sequence_number, tcp.acknowledgment_number) = (true, 1001, 1001));
    let cut = world.send(&data);
    assert_eq!((cut.verdict, cut.flows), (Verdict::Drop(DropReason::NoFlow), [2, 1]));
    // And without a packet of its own, where live flows are kept.
    let world = World { snapshot: Some(with(1, Vec::new(), false)), ..World::new() };
    world.send(&ask());
    let switches = Switches { recheck_live_flows: false, ..Switches::default() };
    let kept = snapshot(2, policy(false), switches).with_services(Services::new(behind(), 7));
    let view = world.flows.views().next().unwrap();
    assert_eq!(recheck(&world.flows, &kept, &view, secs(11)), Recheck::Released);
}

/// The port that a frame of web's has become on its way to db, and which of the two it was.
fn source_port_at_db(outcome: &Outcome, packet: impl Fn(u16) -> Vec<u8>) -> u16 {
    let transport = if outcome.after[16] == 0x08 { 18 + 20 } else { 18 + 40 };
    let given = u16::from_be_bytes([outcome.after[transport], outcome.after[transport + 1]]);
    became(outcome, Tag::to_pod(port(DB)), &into_pod(DB, WEB, &packet(given)));
    given
}

#[test]
fn connections_from_one_port_to_one_backend_are_told_apart() {
    for (web, service_ip, db, _) in PAIRS {
        let other_ip = if web.contains('.') { "10.96.0.20" } else { "fd96::20" };
        let mut all = services();
        all.push(service(other_ip, 8053, IpProtocol::UDP, &[(db, 53)]));
        let world = World { snapshot: Some(with(1, all, false)), ..World::new() };
        let ask = |from: u16, to: (&str, u16)| udp((web, from), to, b"question");
        let tell = |from: (&str, u16), to: u16| udp(from, (web, to), b"answer");
        let direct = world.send(&from_pod(WEB, mac(DB)).ip(&ask(40000, (db, 53))));
        became(&direct, Tag::to_pod(port(DB)), &into_pod(DB, WEB, &ask(40000, (db, 53))));
        let mut given = vec![40000];
        for (called, called_port) in [(service_ip, 53), (other_ip, 8053)] {
            let asked = || world.send(&out(WEB, &ask(40000, (called, called_port))));
            let first = asked();
            let own = source_port_at_db(&first, |own| ask(own, (db, 53)));
            assert!(own >= 1024 && !given.contains(&own), "{own}");
            assert_eq!(source_port_at_db(&asked(), |own| ask(own, (db, 53))), own, "the next one too");
            let told = world.send(&from_pod(DB, mac(WEB)).ip(&tell((db, 53), own)));
            let expected = into_pod(WEB, DB, &tell((called, called_port), 40000));
            became(&told, Tag::to_pod(port(WEB)), &expected);
            let [event] = &first.events[..] else { panic!("{:?}", first.events) };
            assert_eq!(event.tuple.map(|tuple| tuple.source_port), Some(own));
            given.push(own);

            // Errors, about what web has sent and about what it was sent.
            let (icmp_type, code) = if web.contains('.') { (3, 3) } else { (1, 4) };
            let error = |from: &str, to: &str, about: &[u8]| {
                frames::icmp_error_with_sum(from, to, icmp_type, code, about)
            };
            let told = world.send(&from_pod(DB, mac(WEB)).ip(&error(db, web, &ask(own, (db, 53)))));
            let expected = error(called, web, &ask(40000, (called, called_port)));
            became(&told, Tag::to_pod(port(WEB)), &into_pod(WEB, DB, &expected));
            let told = world.send(&out(WEB, &error(web, called, &tell((called, called_port), 40000))));
            let expected = error(web, db, &tell((db, 53), own));
            became(&told, Tag::to_pod(port(DB)), &into_pod(DB, WEB, &expected));
        }
        let told = world.send(&from_pod(DB, mac(WEB)).ip(&tell((db, 53), 40000)));
        became(&told, Tag::to_pod(port(WEB)), &into_pod(WEB, DB, &tell((db, 53), 40000)));
        assert_eq!(world.flows.len(), 3);
    }
}

#[test]
fn ports_that_a_services_connection_has_are_not_given_to_another() {
    let world = world_with_services();
    world.send(&out(FREE, &syn(("10.0.0.3", 40000), ("10.96.0.12", 80))));
    let frame = out(FREE, &syn(("10.0.0.3", 40000), ("10.0.1.9", 8080)));
    let clash = world.send(&frame);
    assert_eq!(clash.verdict, Verdict::Reject(DropReason::ServiceClash));
    assert_eq!(clash.events[0].called, Some(target("10.96.0.12", 80)));
    assert!(answer(&frame).is_some());
    // The backend's pod sees the packet that the client's port has translated as it is.
    let packet = udp(("10.0.0.1", 40000), ("10.0.0.2", 53), b"q");
    world.send(&out(WEB, &udp(("10.0.0.1", 40000), ("10.96.0.10", 53), b"q")));
    world.departures.note(port(WEB), secs(10));
    became(&world.send(&to_pod(DB).ip(&packet)), Tag::to_pod(port(DB)), &to_pod(DB).ip(&packet));
}

#[test]
fn a_pods_connection_to_itself_outlives_its_service() {
    let mut world = world_with_services();
    let (free, service_ip) = ("10.0.0.3", "10.96.0.13");
    world.send(&out(FREE, &syn((free, 40000), (service_ip, 80))));
    world.snapshot = Some(with(2, Vec::new(), false));
    let numbers = |tcp: &mut etherparse::TcpHeader| {
        (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, 1001);
    };
    let answered = world.send(&out(FREE, &tcp((free, 8080), (service_ip, 40000), numbers, &[])));
    let expected = into_pod(FREE, FREE, &tcp((service_ip, 80), (free, 40000), numbers, &[]));
    became(&answered, Tag::to_pod(port(FREE)), &expected);
}

#[test]
fn another_source_port_leaves_a_client_its_backend() {
    let backends: Vec<(String, u16)> = (1..=9).map(|number| (format!("10.0.1.{number}"), 80)).collect();
    let some: Vec<(&str, u16)> = backends.iter().map(|(addr, port)| (addr.as_str(), *port)).collect();
    let (key, port_of) = service("10.96.0.20", 80, IpProtocol::TCP, &some);
    let sticky = vec![(key, ServicePort { affinity: Some(Duration::from_mins(1)), ..port_of })];
    let world = World { snapshot: Some(with(1, sticky, false)), ..World::new() };
    let backend = |client: u16| {
        let opened = world.send(&out(FREE, &syn(("10.0.0.3", client), ("10.96.0.20", 80))));
        opened.events[0].tuple.unwrap()
    };
    let first = backend(40000);
    let direct = syn(("10.0.0.3", 40001), (&first.destination.to_ip().to_string(), 80));
    world.send(&out(FREE, &direct));
    let second = backend(40001);
    assert_eq!(second.destination, first.destination);
    assert_ne!(second.source_port, 40001);
    assert_eq!(backend(40002).destination, first.destination);
}

#[test]
fn a_client_keeps_its_backend_if_the_service_wants_it() {
    let backends: Vec<(String, u16)> = (1..=9).map(|number| (format!("10.0.1.{number}"), 80)).collect();
    let behind = |count: usize, affinity| {
        let some: Vec<(&str, u16)> =
            backends[..count].iter().map(|(addr, port)| (addr.as_str(), *port)).collect();
        let (key, port_of) = service("10.96.0.20", 80, IpProtocol::TCP, &some);
        vec![(key, ServicePort { affinity, ..port_of })]
    };
    let goes_to = |world: &World, client: u16, at: u64| {
        let sent = world.send_at(&out(FREE, &syn(("10.0.0.3", client), ("10.96.0.20", 80))), secs(at));
        assert!(matches!(sent.verdict, Verdict::Forward(_)), "{sent:?}");
        sent.after[34..38].to_vec()
    };
    let world = World { snapshot: Some(with(1, behind(9, None), false)), ..World::new() };
    let spread: std::collections::BTreeSet<_> = (1..100).map(|client| goes_to(&world, client, 10)).collect();
    assert_eq!(spread.len(), 9, "without affinity every backend gets some");
    let minute = Some(Duration::from_mins(1));
    let mut world = World { snapshot: Some(with(1, behind(1, minute), false)), ..World::new() };
    let first = goes_to(&world, 1, 10);
    world.snapshot = Some(with(2, behind(9, minute), false));
    let mut seen: std::collections::BTreeSet<_> = (2..50).map(|client| goes_to(&world, client, 20)).collect();
    assert_eq!(seen.pop_first(), Some(first));
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn a_tunnel_to_a_node_is_one_by_any_name() {
    let world = world_with_services();
    let asked = out(FREE, &udp(("10.0.0.3", 40000), ("10.96.0.14", 4789), b"vxlan"));
    world.send(&asked).dropped(DropReason::TunnelToNode);
}

#[test]
fn an_address_is_a_services_only_to_pods() {
    let world = world_with_services();
    // Out of the bridge nothing for a Service comes to a pod.
    let strange = to_pod(DB).ip(&syn(("10.0.0.254", 1), ("10.96.0.10", 80)));
    world.send(&strange).not_for_this_pod();
    assert_eq!(world.snapshot.as_ref().unwrap().epoch, Epoch(1));
}
