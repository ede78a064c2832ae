//! Numbers as packets of a few connections.
//!
//! Segments are numbered from where their sender stands, so that a byte suffices for one that fits,
//! and for one that just does not.

use podgate_flowtable::{Addr, IcmpRole, IpProtocol, Packet, TcpFlags, TcpSegment, Transport, Tuple};

use super::input::Input;

/// Client numbers. The last one talks to itself.
const CLIENTS: u8 = 8;

/// Where both ends of each TCP connection stand: the next number that they send.
#[derive(Default)]
pub struct Packets {
    next: [[u32; 2]; CLIENTS as usize],
}

impl Packets {
    /// The next packet of the input.
    pub fn read(&mut self, input: &mut Input<'_>) -> Option<Packet> {
        let [what, who] = input.take()?;
        let (client, is_answer) = (who % CLIENTS, who & 0x80 != 0);
        let (protocol, transport) = match what % 16 {
            0..10 => (IpProtocol::TCP, Transport::Tcp(self.segment(client, is_answer, input)?)),
            10 | 11 => (IpProtocol::UDP, Transport::Udp),
            12 => (IpProtocol::ICMP, Transport::Icmp(IcmpRole::Request)),
            13 => (IpProtocol::ICMP, Transport::Icmp(IcmpRole::Reply)),
            14 => {
                let [first_chunk, tag] = input.take()?;
                let transport =
                    Transport::Sctp { verification_tag: u32::from(tag % 4), first_chunk: first_chunk % 16 };
                (IpProtocol::SCTP, transport)
            }
            _ => (IpProtocol(47), Transport::Other),
        };
        let tuple = tuple(client, protocol);
        let tuple = if is_answer { tuple.reversed() } else { tuple };
        Some(Packet { tuple, transport, len_bytes: 40 + u32::from(what) })
    }

    fn segment(&mut self, client: u8, is_answer: bool, input: &mut Input<'_>) -> Option<TcpSegment> {
        let [flags, numbers, size] = input.take()?;
        let flags = match flags {
            // What real segments have, for most of the bytes.
            0..0x30 => TcpFlags::SYN,
            0x30..0x60 => TcpFlags::SYN.with(TcpFlags::ACK),
            0x60..0xa0 => TcpFlags::ACK,
            0xa0..0xc0 => TcpFlags::FIN.with(TcpFlags::ACK),
            0xc0..0xd0 => TcpFlags::RST,
            0xd0..0xe0 => TcpFlags::RST.with(TcpFlags::ACK),
            other => TcpFlags(other),
        };
        let ends = &mut self.next[usize::from(client)];
        let [own, other] = if is_answer { [ends[1], ends[0]] } else { *ends };
        let sequence = own.wrapping_add(offset(numbers & 0xf, input)?);
        let acknowledgement = other.wrapping_add(offset(numbers >> 4, input)?);
        let payload_len_bytes = match size & 0x7 {
            0..4 => 0,
            4 => 1,
            5 => 100,
            6 => 1448,
            _ => 65_000,
        };
        let window = match size >> 3 & 0x7 {
            0 => 0,
            1 => 1,
            2 => 1000,
            3..6 => 64_240,
            _ => u16::MAX,
        };
        let window_scale = [None, Some(0), Some(7), Some(14)][usize::from(size >> 6)];
        let takes = |flag| u32::from(flags.contains(flag));
        let end = sequence
            .wrapping_add(u32::from(payload_len_bytes))
            .wrapping_add(takes(TcpFlags::SYN) + takes(TcpFlags::FIN));
        if numbers & 0xf < 4 {
            ends[usize::from(is_answer)] = end;
        }
        let window_scale = window_scale.filter(|_| flags.contains(TcpFlags::SYN));
        let sack_permitted = false;
        Some(TcpSegment {
            flags,
            sequence,
            acknowledgement,
            window,
            payload_len_bytes,
            window_scale,
            sack_permitted,
        })
    }
}

/// How far from where it should be: on the spot, near an edge, far away, or as the input says.
fn offset(code: u8, input: &mut Input<'_>) -> Option<u32> {
    Some(match code {
        0..5 => 0,
        5 => 1,
        6 => 1_u32.wrapping_neg(),
        7 => 100_u32.wrapping_neg(),
        8 => 1448_u32.wrapping_neg(),
        9 => 1000,
        10 => 65_536,
        11 => 66_001_u32.wrapping_neg(),
        12 => 1 << 30,
        13 => 1 << 31,
        14 => u32::from(input.byte()?),
        _ => input.word()?,
    })
}

fn tuple(client: u8, protocol: IpProtocol) -> Tuple {
    let has_ports = protocol != IpProtocol(47);
    let port = |port| if has_ports { port } else { 0 };
    let is_query = protocol == IpProtocol::ICMP;
    let source = Addr::from_v4([10, 0, 0, client]);
    let source_port = port(1000 + u16::from(client));
    if client == CLIENTS - 1 {
        return Tuple { source, destination: source, source_port, destination_port: source_port, protocol };
    }
    Tuple {
        source,
        destination: Addr::from_v4([10, 0, 1, 1]),
        source_port,
        destination_port: if is_query { source_port } else { port(80) },
        protocol,
    }
}
