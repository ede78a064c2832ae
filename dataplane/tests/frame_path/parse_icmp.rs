//! ICMP queries and errors, neighbour discovery, listener discovery.

use podgate_dataplane::mac::Mac;
use podgate_dataplane::parse::{Body, Ip, Mld, Neighbour, NeighbourMessage, Parsed, Payload};
use podgate_dataplane::verdict::DropReason;
use podgate_flowtable::{Addr, IcmpRole, Transport};

use crate::frames::{self, ICMP, ICMPV6, any_link};

fn parse(packet: &[u8]) -> Result<Ip, DropReason> {
    match Parsed::from_frame(&any_link().ip(packet))?.body {
        Body::Ip(ip) => Ok(ip),
        Body::Arp(_) => panic!("not ARP"),
    }
}

const V4: (&str, &str) = ("10.0.0.1", "10.0.0.2");
const V6: (&str, &str) = ("fd00::1", "fd00::2");

#[test]
fn queries_are_packets_with_their_identifier_at_both_ends() {
    for ((source, destination), icmp_type, role) in [
        (V4, 8, IcmpRole::Request),
        (V4, 0, IcmpRole::Reply),
        (V4, 13, IcmpRole::Request),
        (V4, 14, IcmpRole::Reply),
        (V6, 128, IcmpRole::Request),
        (V6, 129, IcmpRole::Reply),
    ] {
        let ip = parse(&frames::query(source, destination, icmp_type, 0xbeef)).unwrap();
        assert_eq!((ip.tuple().source_port, ip.tuple().destination_port), (0xbeef, 0xbeef));
        assert_eq!(ip.icmp_type(), Some(icmp_type));
        let Payload::Packet { packet, .. } = ip.payload else { panic!("a packet") };
        assert_eq!(packet.transport, Transport::Icmp(role));
    }
}

#[test]
fn errors_carry_the_tuple_they_quote() {
    for ((source, destination), types) in [(V4, [3, 4, 11, 12]), (V6, [1, 2, 3, 4])] {
        for quoted in [
            frames::udp((destination, 1000), (source, 53), &[0; 40]),
            frames::syn((destination, 1000), (source, 80)),
            frames::sctp((destination, 1000), (source, 80), 7, 1),
            frames::query(destination, source, if source == V4.0 { 8 } else { 128 }, 9),
            frames::raw(destination, source, 47, &[0; 8]),
        ] {
            let expected = parse(&quoted).unwrap().tuple();
            let cut = &quoted[..quoted.len() - frames::transport_of(&quoted).len() + 8];
            for icmp_type in types {
                for quote in [&quoted[..], cut] {
                    let ip = parse(&frames::icmp_error(source, destination, icmp_type, quote)).unwrap();
                    assert_eq!(ip.payload, Payload::IcmpError { icmp_type, quoted: Some(expected) });
                }
            }
        }
    }
}

#[test]
fn a_quote_that_names_no_flow_is_none() {
    let quote = |(source, destination): (&str, &str), quoted: &[u8]| {
        let icmp_type = if source == V4.0 { 3 } else { 1 };
        match parse(&frames::icmp_error(source, destination, icmp_type, quoted)).map(|ip| ip.payload) {
            Ok(Payload::IcmpError { quoted, .. }) => Ok(quoted),
            Err(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    };
    for (ends, about_error) in [
        (V4, frames::icmp_error(V4.1, V4.0, 3, &frames::udp((V4.0, 1), (V4.1, 2), &[]))),
        (V6, frames::icmp_error(V6.1, V6.0, 1, &frames::udp((V6.0, 1), (V6.1, 2), &[]))),
    ] {
        let later = frames::fragment(&frames::udp((ends.1, 1), (ends.0, 2), &[0; 64]), 16, 32, 1);
        assert_eq!(quote(ends, &later), Ok(None));
        assert_eq!(quote(ends, &about_error), Ok(None));
        // Less than the header and 8 bytes.
        let whole = frames::udp((ends.1, 1), (ends.0, 2), &[]);
        for len in 0..whole.len() {
            let cut = quote(ends, &whole[..len]);
            assert!(matches!(cut, Ok(None) | Err(DropReason::BadTransport)), "{len}: {cut:?}");
        }
    }
    let mapped = frames::udp(("::ffff:10.0.0.2", 1), ("::ffff:10.0.0.1", 2), &[]);
    assert_eq!(quote(V6, &mapped), Ok(None), "it is no IPv4 flow");
}

#[test]
fn redirects_and_the_rest_are_neither() {
    for (ends, icmp_type) in
        [(V4, 5), (V4, 9), (V4, 10), (V4, 30), (V4, 42), (V6, 0), (V6, 5), (V6, 100), (V6, 139), (V6, 255)]
    {
        let ip = parse(&frames::query(ends.0, ends.1, icmp_type, 1)).unwrap();
        assert_eq!(ip.payload, Payload::IcmpOther { icmp_type });
    }
    // ICMP of the other family is a protocol like any other.
    for packet in [
        frames::raw(V4.0, V4.1, ICMPV6, &[135; 24]),
        frames::raw(V6.0, V6.1, ICMP, &[8, 0, 0, 0, 0, 1, 0, 1]),
    ] {
        let Payload::Packet { packet, .. } = parse(&packet).unwrap().payload else { panic!("a packet") };
        assert_eq!(packet.transport, Transport::Other);
    }
}

const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

#[test]
fn neighbour_messages_are_read_with_their_link_address() {
    let target = Addr::from(frames::ip("fd00::9"));
    for (packet, message, link_address) in [
        (
            frames::nd("fd00::1", "ff02::1:ff00:9", 135, "fd00::9", Some(MAC)),
            NeighbourMessage::Solicitation { target },
            Some(MAC),
        ),
        (
            frames::nd("::", "ff02::1:ff00:9", 135, "fd00::9", None),
            NeighbourMessage::Solicitation { target },
            None,
        ),
        (
            frames::nd("fd00::1", "fd00::2", 136, "fd00::9", Some(MAC)),
            NeighbourMessage::Advertisement { target },
            Some(MAC),
        ),
        (frames::icmpv6("fe80::1", "ff02::2", 133), NeighbourMessage::RouterSolicitation, None),
        (frames::icmpv6("fe80::1", "ff02::1", 134), NeighbourMessage::RouterAdvertisement, None),
        (frames::icmpv6("fe80::1", "fd00::1", 137), NeighbourMessage::Redirect, None),
    ] {
        let ip = parse(&packet).unwrap();
        assert_eq!(ip.payload, Payload::Neighbour(Neighbour { message, link_address }));
        assert_eq!(ip.icmp_type(), Some(message.icmp_type()));
    }
}

#[test]
fn what_a_receiver_must_ignore_is_refused() {
    let valid = frames::nd("fd00::1", "fd00::2", 135, "fd00::9", Some(MAC));
    for (at, value, why) in [
        (7, 254, "a hop limit less than 255"),
        (41, 1, "a code"),
        (48, 0xff, "a group as target"),
        (65, 0, "an option of length 0"),
        (65, 2, "an option past the end"),
    ] {
        let mut packet = valid.clone();
        packet[at] = value;
        assert_eq!(parse(&packet), Err(DropReason::BadTransport), "{why}");
    }
    let mapped = frames::nd("fd00::1", "fd00::2", 135, "::ffff:10.0.0.1", None);
    assert_eq!(parse(&mapped), Err(DropReason::BadTransport));
    for router in [134, 137] {
        assert_eq!(parse(&frames::icmpv6("fd00::1", "ff02::1", router)), Err(DropReason::BadTransport));
    }
    let with_address_from_nowhere = frames::nd("::", "ff02::1:ff00:9", 135, "fd00::9", Some(MAC));
    assert_eq!(parse(&with_address_from_nowhere), Err(DropReason::Martian), "RFC 4861, 7.1.1");
    assert_eq!(parse(&frames::nd("::", "ff02::1", 136, "fd00::9", None)), Err(DropReason::Martian));
    let len = valid.len() - 40;
    assert_eq!(parse(&frames::fragment(&valid, 0, len, 1)), Err(DropReason::BadFragment), "RFC 6980, 5");
    let mut two = frames::transport_of(&valid).to_vec();
    two.extend_from_slice(&[1, 1, 2, 0, 0, 0, 0, 8]);
    assert_eq!(parse(&frames::raw("fd00::1", "fd00::2", ICMPV6, &two)), Err(DropReason::BadTransport));
}

#[test]
fn listener_messages_are_told_from_queries() {
    for (icmp_type, mld) in [
        (130, Mld::Query),
        (131, Mld::Report { icmp_type: 131 }),
        (132, Mld::Report { icmp_type: 132 }),
        (143, Mld::Report { icmp_type: 143 }),
    ] {
        for source in ["fe80::1", "::"] {
            let ip = parse(&frames::icmpv6(source, "ff02::16", icmp_type)).unwrap();
            assert_eq!(ip.payload, Payload::Mld(mld));
        }
    }
}
