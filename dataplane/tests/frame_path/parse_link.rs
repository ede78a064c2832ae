//! Ethernet and ARP.

use podgate_dataplane::mac::Mac;
use podgate_dataplane::parse::{self, Arp, ArpOperation, Body, Parsed};
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;
use podgate_flowtable::Addr;

use crate::frames::{self, ARP, IPV4, any_link, port};

#[test]
fn the_header_is_what_stands_in_the_frame() {
    let frame = any_link().ip(&frames::udp(("10.0.0.1", 1), ("10.0.0.2", 2), &[]));
    let parsed = Parsed::from_frame(&frame).unwrap();
    assert_eq!(parsed.header.tag, Tag::from_pod(port(1)));
    assert_eq!(parsed.header.source, Mac([2, 0, 0, 0, 0, 1]));
    assert_eq!(parsed.header.destination, Mac([2, 0, 0, 0, 0, 2]));
}

#[test]
fn only_a_frame_with_a_valid_tag_of_the_gateway_is_taken() {
    let valid = any_link().ip(&frames::udp(("10.0.0.1", 1), ("10.0.0.2", 2), &[]));
    let with = |at: usize, bytes: [u8; 2]| {
        let mut frame = valid.clone();
        frame[at..at + 2].copy_from_slice(&bytes);
        Parsed::from_frame(&frame)
    };
    assert_eq!(with(12, [0x08, 0x00]), Err(DropReason::NoTag));
    assert_eq!(with(12, [0x88, 0xa8]), Err(DropReason::NoTag));
    assert_eq!(with(14, [0x00, 0x00]), Err(DropReason::NoTag), "port 0 is never given out");
    assert_eq!(with(14, [0x10, 0x01]), Err(DropReason::NoTag), "a bit the steering never sets");
    assert!(with(14, [0x08, 0x01]).is_ok());
}

#[test]
fn a_pods_own_tags_and_other_ethertypes_are_refused() {
    let carry = |ethertype| Parsed::from_frame(&any_link().carry(ethertype, &[0; 46])).unwrap_err();
    for vlan in [0x8100, 0x88a8, 0x9100] {
        assert_eq!(carry(vlan), DropReason::VlanTagged);
    }
    // LLC, MACsec, PPPoE, MPLS, LLDP.
    for other in [0x0026, 0x88e5, 0x8863, 0x8864, 0x8847, 0x88cc, 0xffff] {
        assert_eq!(carry(other), DropReason::UnknownEthertype);
    }
}

#[test]
fn arp_is_read_with_padding_or_without() {
    let sender_mac = Mac([2, 0, 0, 0, 0, 1]);
    let mut packet = frames::arp(frames::REQUEST, sender_mac, "10.0.0.1", "10.0.0.2");
    let expected = Arp {
        operation: ArpOperation::Request,
        sender_mac,
        sender: Addr::from_v4([10, 0, 0, 1]),
        target: Addr::from_v4([10, 0, 0, 2]),
    };
    for padding in [0, 18] {
        packet.resize(28 + padding, 0);
        let parsed = Parsed::from_frame(&any_link().carry(ARP, &packet)).unwrap();
        assert_eq!(parsed.body, Body::Arp(expected));
    }
    assert!(!expected.is_probe());
    assert!(!expected.is_announcement());
}

#[test]
fn arp_for_anything_but_ethernet_and_ipv4_is_refused() {
    let valid = frames::arp(frames::REPLY, Mac([2, 0, 0, 0, 0, 1]), "10.0.0.1", "10.0.0.2");
    for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3), (7, 0), (6, 1)] {
        let mut packet = valid.clone();
        packet[at] = value;
        let parsed = Parsed::from_frame(&any_link().carry(ARP, &packet));
        assert_eq!(parsed, Err(DropReason::BadArp), "byte {at} = {value}");
    }
}

#[test]
fn retag_and_readdress_touch_their_bytes_alone() {
    let before = any_link().carry(IPV4, &[0xaa; 40]);
    let mut after = before.clone();
    parse::retag(&mut after, Tag::to_pod(port(77)));
    parse::readdress(&mut after, Mac([9; 6]));
    assert_eq!(after[..6], [9; 6]);
    assert_eq!(after[6..14], before[6..14]);
    assert_eq!(after[14..16], Tag::to_pod(port(77)).tci().to_be_bytes());
    assert_eq!(after[16..], before[16..]);
    for len in 0..6 {
        let mut short = vec![1; len];
        parse::retag(&mut short, Tag::to_pod(port(77)));
        parse::readdress(&mut short, Mac([9; 6]));
        assert_eq!(short, vec![1; len]);
    }
}

#[test]
fn link_local_addresses_are_formed_from_macs_and_back() {
    let mac = Mac([0x02, 0x42, 0xac, 0x11, 0x00, 0x02]);
    let addr = Addr::from(frames::ip("fe80::42:acff:fe11:2"));
    assert_eq!(mac.link_local(), addr);
    assert_eq!(Mac::of_link_local(addr), Some(mac));
    for other in ["fe80::1", "fe80:0:0:1:42:acff:fe11:2", "fd00::42:acff:fe11:2", "10.0.0.1"] {
        assert_eq!(Mac::of_link_local(Addr::from(frames::ip(other))), None);
    }
}
