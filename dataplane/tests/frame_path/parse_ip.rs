//! IPv4 and IPv6 headers, extension headers, fragments.

use podgate_dataplane::parse::{Body, Fragment, Ip, Parsed, Payload};
use podgate_dataplane::verdict::DropReason;
use podgate_flowtable::{Addr, IpProtocol, Transport};

use crate::frames::{self, TCP, UDP, any_link};

fn parse(packet: &[u8]) -> Result<Ip, DropReason> {
    match Parsed::from_frame(&any_link().ip(packet))?.body {
        Body::Ip(ip) => Ok(ip),
        Body::Arp(_) => panic!("not ARP"),
    }
}

fn with(packet: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at] = value;
    packet
}

fn v4() -> Vec<u8> {
    frames::udp(("10.0.0.1", 1000), ("10.0.0.2", 53), b"question")
}

fn v6() -> Vec<u8> {
    frames::udp(("fd00::1", 1000), ("fd00::2", 53), b"question")
}

/// `packet` with extension headers (each: its number, its bytes without the first) put in.
fn extended(packet: &[u8], headers: &[(u8, &[u8])]) -> Vec<u8> {
    let mut extended = packet[..40].to_vec();
    let mut next = 6;
    let last = packet[6];
    for (number, rest) in headers {
        extended[next] = *number;
        next = extended.len();
        extended.push(0);
        extended.extend_from_slice(rest);
    }
    extended[next] = last;
    extended.extend_from_slice(&packet[40..]);
    let len = (extended.len() - 40) as u16;
    extended[4..6].copy_from_slice(&len.to_be_bytes());
    extended
}

#[test]
fn both_families_are_read() {
    for (packet, source, destination) in [(v4(), "10.0.0.1", "10.0.0.2"), (v6(), "fd00::1", "fd00::2")] {
        let ip = parse(&packet).unwrap();
        assert_eq!(ip.source, Addr::from(frames::ip(source)));
        assert_eq!(ip.destination, Addr::from(frames::ip(destination)));
        assert_eq!(ip.protocol, IpProtocol::UDP);
        assert_eq!(ip.len_bytes as usize, packet.len());
        assert_eq!(ip.fragment, None);
        let tuple = ip.tuple();
        assert_eq!((tuple.source_port, tuple.destination_port), (1000, 53));
    }
}

#[test]
fn the_length_field_counts_and_not_the_frames_padding() {
    for packet in [v4(), v6()] {
        let mut padded = packet.clone();
        padded.resize(packet.len() + 30, 0);
        assert_eq!(parse(&padded).unwrap(), parse(&packet).unwrap());
    }
    assert_eq!(parse(&with(&v4(), 3, 37)), Err(DropReason::Truncated));
    assert_eq!(parse(&with(&v6(), 5, 17)), Err(DropReason::Truncated));
}

#[test]
fn a_malformed_ipv4_header_is_refused() {
    assert_eq!(parse(&with(&v4(), 0, 0x44)), Err(DropReason::BadIpv4), "header of 16 bytes");
    assert_eq!(parse(&with(&v4(), 3, 19)), Err(DropReason::BadIpv4), "total less than the header");
    let mut six = any_link().ip(&v4());
    six[18] = 0x65;
    assert_eq!(Parsed::from_frame(&six), Err(DropReason::BadIpv4), "version 6 as ethertype IPv4");
}

#[test]
fn ipv4_options_are_skipped_but_source_routes_refused() {
    let optioned = |options: [u8; 8]| {
        let mut packet = v4();
        packet.splice(20..20, options);
        packet[0] = 0x47;
        packet[3] += 8;
        parse(&packet)
    };
    // Router alert; record route with no room; no-operation to the end.
    for options in [[148, 4, 0, 0, 0, 0, 0, 0], [7, 7, 4, 0, 0, 0, 0, 0], [1; 8], [0; 8]] {
        assert_eq!(optioned(options).unwrap().tuple(), parse(&v4()).unwrap().tuple());
    }
    for options in [[131, 7, 4, 10, 0, 0, 3, 0], [1, 137, 7, 4, 10, 0, 0, 3]] {
        assert_eq!(optioned(options), Err(DropReason::BadIpv4));
    }
    // Lengths that lie.
    for options in [[148, 0, 0, 0, 0, 0, 0, 0], [148, 1, 0, 0, 0, 0, 0, 0], [148, 9, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(optioned(options), Err(DropReason::BadIpv4));
    }
    assert_eq!(optioned([1, 1, 1, 1, 1, 1, 1, 148]), Err(DropReason::BadIpv4));
}

#[test]
fn addresses_that_may_not_be_on_a_wire_are_martian() {
    let martian = |source, destination| {
        assert_eq!(
            parse(&frames::raw(source, destination, 99, &[0; 8])),
            Err(DropReason::Martian),
            "{source} to {destination}"
        );
    };
    for source in ["0.1.2.3", "127.0.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"] {
        martian(source, "10.0.0.2");
    }
    for destination in ["0.0.0.0", "127.0.0.1", "240.0.0.1", "255.255.255.254"] {
        martian("10.0.0.1", destination);
    }
    for source in ["::", "::1", "::10.0.0.1", "::ffff:10.0.0.1", "ff02::1"] {
        martian(source, "fd00::2");
    }
    for destination in ["::", "::1", "::ffff:10.0.0.2", "ff00::1", "ff01::1", "ff11::1"] {
        martian("fd00::1", destination);
    }
    for (source, destination) in [
        ("0.0.0.0", "255.255.255.255"),
        ("169.254.20.10", "10.0.0.2"),
        ("10.0.0.1", "169.254.169.254"),
        ("10.0.0.1", "224.0.0.251"),
        ("fe80::1", "ff02::1"),
        ("fe80::1", "fe80::2"),
    ] {
        parse(&frames::raw(source, destination, 99, &[0; 8])).unwrap();
    }
}

#[test]
fn extension_headers_are_walked_to_the_transport() {
    const HOP: (u8, &[u8]) = (0, &[0, 5, 2, 0, 0, 1, 0]);
    const ROUTING_DONE: (u8, &[u8]) = (43, &[0, 4, 0, 0, 0, 0, 0]);
    const OPTIONS: (u8, &[u8]) = (60, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    const AUTHENTICATION: (u8, &[u8]) = (51, &[2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
    let plain = parse(&v6()).unwrap();
    for headers in [&[HOP][..], &[HOP, ROUTING_DONE, OPTIONS, AUTHENTICATION], &[OPTIONS; 8]] {
        let ip = parse(&extended(&v6(), headers)).unwrap();
        assert_eq!(ip.tuple(), plain.tuple());
    }
    assert_eq!(parse(&extended(&v6(), &[OPTIONS; 9])), Err(DropReason::BadIpv6), "too many");
    assert_eq!(parse(&extended(&v6(), &[OPTIONS, HOP])), Err(DropReason::BadIpv6), "hop-by-hop not first");
    let under_way: (u8, &[u8]) = (43, &[0, 4, 1, 0, 0, 0, 0]);
    assert_eq!(parse(&extended(&v6(), &[under_way])), Err(DropReason::BadIpv6), "segments left");
    let too_long: (u8, &[u8]) = (60, &[9, 1, 4, 0, 0, 0, 0]);
    assert_eq!(parse(&extended(&v6(), &[too_long])), Err(DropReason::Truncated));
}

#[test]
fn what_has_no_ports_is_other() {
    for protocol in [50, 59, 4, 41, 47, 2, 103] {
        let ip = parse(&frames::raw("fd00::1", "fd00::2", protocol, &[0; 8])).unwrap();
        assert_eq!((ip.tuple().source_port, ip.tuple().destination_port), (0, 0));
        let Payload::Packet { packet, .. } = ip.payload else { panic!("a packet") };
        assert_eq!(packet.transport, Transport::Other);
        assert_eq!(packet.tuple.protocol, IpProtocol(protocol));
    }
}

#[test]
fn jumbograms_and_empty_packets_are_refused() {
    let mut jumbo = extended(&v6(), &[(0, &[0, 0xc2, 4, 0, 1, 0, 0])]);
    jumbo[4..6].copy_from_slice(&[0, 0]);
    assert_eq!(parse(&jumbo), Err(DropReason::BadIpv6));
}

#[test]
fn first_and_later_fragments_of_both_families() {
    for packet in [
        frames::udp(("10.0.0.1", 1000), ("10.0.0.2", 53), &[7; 100]),
        frames::udp(("fd00::1", 1000), ("fd00::2", 53), &[7; 100]),
    ] {
        let first = parse(&frames::fragment(&packet, 0, 48, 77)).unwrap();
        assert_eq!(
            first.fragment,
            Some(Fragment { identification: 77, start_bytes: 0, end_bytes: 48, more: true })
        );
        assert_eq!(first.tuple(), parse(&packet).unwrap().tuple());
        let last = parse(&frames::fragment(&packet, 48, 108, 77)).unwrap();
        assert_eq!(
            last.fragment,
            Some(Fragment { identification: 77, start_bytes: 48, end_bytes: 108, more: false })
        );
        assert_eq!(last.payload, Payload::LaterFragment);
        assert_eq!((last.tuple().source_port, last.tuple().destination_port), (0, 0));
    }
}

#[test]
fn an_atomic_fragment_is_no_fragment() {
    let packet = v6();
    let ip = parse(&frames::fragment(&packet, 0, packet.len() - 40, 5)).unwrap();
    assert_eq!(ip.fragment, None);
    assert_eq!(ip.tuple(), parse(&packet).unwrap().tuple());
}

#[test]
fn fragments_that_hide_something_are_refused() {
    let bad = |packet: &[u8]| assert_eq!(parse(packet), Err(DropReason::BadFragment));
    for (tcp, udp) in [
        (frames::tcp(("10.0.0.1", 1), ("10.0.0.2", 2), |_| {}, &[7; 100]), v4()),
        (frames::tcp(("fd00::1", 1), ("fd00::2", 2), |_| {}, &[7; 100]), v6()),
    ] {
        // Tiny first fragments (RFC 1858): ports and flags in different fragments.
        bad(&frames::fragment(&tcp, 0, 8, 1));
        bad(&frames::fragment(&tcp, 0, 16, 1));
        parse(&frames::fragment(&tcp, 0, 24, 1)).unwrap();
        // One that overwrites the flags (RFC 3128).
        bad(&frames::fragment(&tcp, 8, 48, 1));
        parse(&frames::fragment(&udp, 8, 16, 1)).unwrap();
        // Not a multiple of 8, though more follow.
        bad(&frames::fragment(&tcp, 24, 49, 1));
        // Empty.
        bad(&frames::fragment(&tcp, 120, 120, 1));
    }
    // Beyond 65,535 bytes.
    let mut death = frames::raw("10.0.0.1", "10.0.0.2", UDP, &[0; 64]);
    death[6..8].copy_from_slice(&[0x1f, 0xff]);
    bad(&death);
    // Two fragment headers, and a chain cut by the fragment's end (RFC 7112).
    let fragment_header: (u8, &[u8]) = (44, &[0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(parse(&extended(&v6(), &[fragment_header, fragment_header])), Err(DropReason::BadIpv6));
    let mut cut = extended(&v6(), &[fragment_header, (60, &[9, 1, 4, 0, 0, 0, 0])]);
    cut[6] = 44;
    bad(&cut);
}

#[test]
fn a_first_fragment_may_end_in_the_middle_of_its_payload_only() {
    let long_header = frames::tcp(
        ("10.0.0.1", 1),
        ("10.0.0.2", 2),
        |tcp| {
            tcp.syn = true;
            tcp.set_options_raw(&[1; 20]).unwrap();
        },
        &[7; 100],
    );
    assert_eq!(long_header[9], TCP);
    assert_eq!(parse(&frames::fragment(&long_header, 0, 32, 1)), Err(DropReason::BadFragment));
    parse(&frames::fragment(&long_header, 0, 40, 1)).unwrap();
}
