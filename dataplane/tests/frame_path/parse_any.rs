//! No input makes the parser panic, and it agrees with another one.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::parse::{Body, Parsed};
use proptest::prelude::*;

use crate::frames::{self, ARP, Link, any_link};

/// One of each kind of frame that the gateway lets through.
pub fn samples(link: Link) -> Vec<Vec<u8>> {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let mut packets = vec![
        frames::nd("fd00::1", "ff02::1:ff00:9", 135, "fd00::9", Some(mac)),
        frames::nd("fd00::1", "fd00::2", 136, "fd00::1", Some(mac)),
        frames::nd("::", "ff02::1:ff00:1", 135, "fd00::1", None),
        frames::icmpv6("fe80::1", "ff02::2", 133),
        frames::icmpv6("fe80::1", "ff02::1", 134),
        frames::icmpv6("fe80::1", "fd00::2", 137),
        frames::icmpv6("fe80::1", "ff02::16", 143),
    ];
    for (source, destination, echo, error) in [("10.0.0.1", "10.0.0.2", 8, 3), ("fd00::1", "fd00::2", 128, 1)]
    {
        let question = frames::udp((source, 1000), (destination, 53), &[7; 64]);
        packets.extend([
            frames::fragment(&question, 0, 24, 1),
            frames::fragment(&question, 24, 72, 1),
            frames::syn((source, 1000), (destination, 80)),
            frames::tcp(
                (source, 1000),
                (destination, 80),
                |tcp| {
                    tcp.syn = true;
                    tcp.set_options_raw(&[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7])
                        .unwrap();
                },
                b"fast open",
            ),
            frames::sctp((source, 1000), (destination, 80), 7, 1),
            frames::query(source, destination, echo, 9),
            frames::icmp_error(
                source,
                destination,
                error,
                &frames::udp((destination, 1), (source, 2), &[0; 9]),
            ),
            frames::raw(source, destination, 47, &[0; 8]),
            question,
        ]);
    }
    let mut samples: Vec<_> = packets.iter().map(|packet| link.ip(packet)).collect();
    samples.push(link.carry(ARP, &frames::arp(frames::REQUEST, mac, "10.0.0.1", "10.0.0.2")));
    samples.push(link.carry(ARP, &frames::arp(frames::REPLY, mac, "10.0.0.1", "10.0.0.2")));
    samples
}

#[test]
fn every_sample_parses_and_no_prefix_of_one_does() {
    for frame in samples(any_link()) {
        Parsed::from_frame(&frame).unwrap();
        for len in 0..frame.len() {
            Parsed::from_frame(&frame[..len]).unwrap_err();
        }
    }
}

#[test]
fn every_byte_may_have_every_value() {
    for mut frame in samples(any_link()) {
        for at in 0..frame.len() {
            let value = frame[at];
            for other in 0..=u8::MAX {
                frame[at] = other;
                let _ = Parsed::from_frame(&frame);
            }
            frame[at] = value;
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_parsed_or_refused(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Parsed::from_frame(&frame);
    }

    #[test]
    fn random_bytes_behind_a_good_header_too(
        ethertype in prop_oneof![Just(frames::IPV4), Just(frames::IPV6), Just(ARP)],
        first in prop_oneof![Just(0x45), Just(0x46), Just(0x60), any::<u8>()],
        protocol in prop_oneof![Just(0_u8), Just(6), Just(17), Just(43), Just(44), Just(58), Just(60), any::<u8>()],
        mut bytes in proptest::collection::vec(any::<u8>(), 60..200),
    ) {
        let is_v4 = ethertype == frames::IPV4;
        bytes[0] = first;
        let len = bytes.len() as u16;
        if is_v4 {
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            bytes[9] = protocol;
        } else {
            bytes[4..6].copy_from_slice(&(len - 40).to_be_bytes());
            bytes[6] = protocol;
        }
        let _ = Parsed::from_frame(&any_link().carry(ethertype, &bytes));
    }

    /// Two parsers, one packet.
    #[test]
    fn etherparse_reads_the_same(which in 0_usize..64, at in 18_usize..80, value: u8) {
        let samples = samples(any_link());
        let mut frame = samples[which % samples.len()].clone();
        let at = at % frame.len();
        if at >= 18 {
            frame[at] = value;
        }
        let Ok(Parsed { body: Body::Ip(ip), .. }) = Parsed::from_frame(&frame) else { return Ok(()) };
        let Ok(sliced) = SlicedPacket::from_ethernet(&frame) else { return Ok(()) };
        let (source, destination) = match sliced.net {
            Some(NetSlice::Ipv4(v4)) => {
                (IpAddr::from(v4.header().source_addr()), IpAddr::from(v4.header().destination_addr()))
            }
            Some(NetSlice::Ipv6(v6)) => {
                (IpAddr::from(v6.header().source_addr()), IpAddr::from(v6.header().destination_addr()))
            }
            _ => return Ok(()),
        };
        prop_assert_eq!((ip.source.to_ip(), ip.destination.to_ip()), (source, destination));
        let ports = match sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
            Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
            _ => return Ok(()),
        };
        prop_assert_eq!((ip.tuple().source_port, ip.tuple().destination_port), ports);
    }
}
