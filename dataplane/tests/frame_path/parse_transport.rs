//! TCP, UDP and SCTP.

use etherparse::TcpOptionElement;
use podgate_dataplane::parse::{Body, Ip, Parsed, Payload};
use podgate_dataplane::verdict::DropReason;
use podgate_flowtable::{TcpFlags, TcpSegment, Transport};

use crate::frames::{self, TCP, UDP, any_link};

fn parse(packet: &[u8]) -> Result<Ip, DropReason> {
    match Parsed::from_frame(&any_link().ip(packet))?.body {
        Body::Ip(ip) => Ok(ip),
        Body::Arp(_) => panic!("not ARP"),
    }
}

fn segment(packet: &[u8]) -> TcpSegment {
    match parse(packet).unwrap().payload {
        Payload::Packet { packet, .. } => match packet.transport {
            Transport::Tcp(segment) => segment,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_tcp_field_is_read() {
    for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let packet = frames::tcp(
            (source, 40000),
            (destination, 80),
            |tcp| {
                tcp.psh = true;
                tcp.ack = true;
                tcp.fin = true;
                tcp.sequence_number = 0x01020304;
                tcp.acknowledgment_number = 0xa1b2c3d4;
                tcp.window_size = 0x8001;
                tcp.set_options(&[TcpOptionElement::Timestamp(1, 2)]).unwrap();
            },
            b"hello",
        );
        let expected = TcpSegment {
            flags: TcpFlags::PSH.with(TcpFlags::ACK).with(TcpFlags::FIN),
            sequence: 0x01020304,
            acknowledgement: 0xa1b2c3d4,
            window: 0x8001,
            payload_len_bytes: 5,
            window_scale: None,
            sack_permitted: false,
        };
        assert_eq!(segment(&packet), expected);
        assert_eq!(parse(&packet).unwrap().tcp_flags(), Some(expected.flags));
    }
}

#[test]
fn syn_options_are_read_and_only_from_a_syn() {
    let packet = |is_syn: bool, options: &[TcpOptionElement]| {
        let options = options.to_vec();
        frames::tcp(
            ("10.0.0.1", 40000),
            ("10.0.0.2", 80),
            |tcp| {
                tcp.syn = is_syn;
                tcp.ack = !is_syn;
                tcp.set_options(&options).unwrap();
            },
            &[],
        )
    };
    let linux = [
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Timestamp(1, 0),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];
    let read = |packet: &[u8]| {
        let segment = segment(packet);
        (segment.window_scale, segment.sack_permitted)
    };
    assert_eq!(read(&packet(true, &linux)), (Some(7), true));
    assert_eq!(read(&packet(false, &linux)), (None, false));
    assert_eq!(read(&packet(true, &[])), (None, false));
    assert_eq!(read(&packet(true, &[TcpOptionElement::WindowScale(15)])), (Some(14), false), "RFC 7323, 2.3");
}

#[test]
fn malformed_syn_options_end_the_reading() {
    let read = |raw: &[u8]| {
        let raw = raw.to_vec();
        let segment = segment(&frames::tcp(
            ("10.0.0.1", 1),
            ("10.0.0.2", 2),
            |tcp| {
                tcp.syn = true;
                tcp.set_options_raw(&raw).unwrap();
            },
            &[],
        ));
        (segment.window_scale, segment.sack_permitted)
    };
    assert_eq!(read(&[8, 0, 3, 3, 7, 0, 0, 0]), (None, false), "length 0");
    assert_eq!(read(&[8, 1, 3, 3, 7, 0, 0, 0]), (None, false), "length 1");
    assert_eq!(read(&[4, 2, 8, 40, 3, 3, 7, 0]), (None, true), "length past the end");
    assert_eq!(read(&[0, 3, 3, 7]), (None, false), "after the end of options");
    assert_eq!(read(&[1, 1, 1, 3]), (None, false), "a kind without a length");
    assert_eq!(read(&[3, 2, 4, 2]), (None, true), "a window scale without a value");
}

#[test]
fn a_tcp_header_longer_than_its_packet_or_shorter_than_20_bytes_is_refused() {
    let packet = frames::syn(("10.0.0.1", 1), ("10.0.0.2", 2));
    for offset in [0x00, 0x40, 0x60, 0xf0] {
        let mut packet = packet.clone();
        packet[20 + 12] = offset;
        assert_eq!(parse(&packet), Err(DropReason::BadTransport));
    }
    assert_eq!(parse(&frames::raw("10.0.0.1", "10.0.0.2", TCP, &[0; 19])), Err(DropReason::Truncated));
}

#[test]
fn a_udp_length_that_lies_is_refused() {
    let with_length = |length: u16| {
        let mut packet = frames::udp(("fd00::1", 1), ("fd00::2", 2), b"1234");
        packet[44..46].copy_from_slice(&length.to_be_bytes());
        parse(&packet).map(|_| ())
    };
    assert_eq!(with_length(12), Ok(()));
    assert_eq!(with_length(8), Ok(()), "what follows is trimmed by the receiver");
    for length in [0, 7, 13, 65535] {
        assert_eq!(with_length(length), Err(DropReason::BadTransport));
    }
    assert_eq!(parse(&frames::raw("10.0.0.1", "10.0.0.2", UDP, &[0; 7])), Err(DropReason::Truncated));
}

#[test]
fn sctp_is_read_with_its_first_chunk() {
    let packet = frames::sctp(("10.0.0.1", 5000), ("10.0.0.2", 132), 0xdeadbeef, 1);
    let Payload::Packet { packet: read, .. } = parse(&packet).unwrap().payload else { panic!("a packet") };
    assert_eq!(read.transport, Transport::Sctp { verification_tag: 0xdeadbeef, first_chunk: 1 });
    assert_eq!((read.tuple.source_port, read.tuple.destination_port), (5000, 132));
    let mut short_chunk = packet.clone();
    short_chunk[20 + 15] = 3;
    assert_eq!(parse(&short_chunk), Err(DropReason::BadTransport));
    assert_eq!(parse(&frames::raw("10.0.0.1", "10.0.0.2", 132, &[0; 12])), Err(DropReason::Truncated));
}
