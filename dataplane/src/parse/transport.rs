//! TCP, UDP and SCTP headers. Lengths only: what a segment means is the flow table's business.

use podgate_flowtable::{IpProtocol, TcpFlags, TcpSegment, Transport};

use super::{Network, Payload, icmp};
use crate::verdict::DropReason;

/// `payload` is what follows the IP headers, of a whole packet or of a first fragment.
#[inline]
pub(super) fn parse(network: &Network, payload: &[u8]) -> Result<Payload, DropReason> {
    match network.protocol {
        IpProtocol::TCP => tcp(network, payload),
        IpProtocol::UDP => udp(network, payload),
        IpProtocol::SCTP => sctp(network, payload),
        IpProtocol::ICMP if network.source.is_v4() => icmp::parse_v4(network, payload),
        IpProtocol::ICMPV6 if !network.source.is_v4() => icmp::parse_v6(network, payload),
        // ICMP of the other family included: no stack answers it.
        _ => Ok(network.packet(0, 0, Transport::Other)),
    }
}

/// A TCP fragment at offset 8 overwrites the flags of the first one (RFC 3128, 2).
pub(super) fn check_later_fragment(protocol: IpProtocol, start_bytes: u32) -> Result<(), DropReason> {
    if protocol == IpProtocol::TCP && start_bytes == 8 { Err(DropReason::BadFragment) } else { Ok(()) }
}

/// RFC 768.
#[inline]
fn udp(network: &Network, payload: &[u8]) -> Result<Payload, DropReason> {
    const HEADER_LEN_BYTES: usize = 8;
    let Some(&[s0, s1, d0, d1, l0, l1, _, _]) = payload.first_chunk::<HEADER_LEN_BYTES>() else {
        return Err(network.cut());
    };
    let len_bytes = usize::from(u16::from_be_bytes([l0, l1]));
    if len_bytes < HEADER_LEN_BYTES || (len_bytes > payload.len() && !network.is_fragment) {
        return Err(DropReason::BadTransport);
    }
    Ok(network.packet(u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]), Transport::Udp))
}

/// RFC 9293, 3.1.
#[inline]
fn tcp(network: &Network, payload: &[u8]) -> Result<Payload, DropReason> {
    const HEADER_LEN_BYTES: usize = 20;
    let Some((fixed, rest)) = payload.split_first_chunk::<HEADER_LEN_BYTES>() else {
        return Err(network.cut());
    };
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, ..] = *fixed;
    let header_len_bytes = usize::from(offset >> 4) * 4;
    let Some(options_len_bytes) = header_len_bytes.checked_sub(HEADER_LEN_BYTES) else {
        return Err(DropReason::BadTransport);
    };
    let Some(options) = rest.get(..options_len_bytes) else {
        return Err(if network.is_fragment { DropReason::BadFragment } else { DropReason::BadTransport });
    };
    let mut segment = TcpSegment {
        flags: TcpFlags(flags),
        sequence: u32::from_be_bytes([q0, q1, q2, q3]),
        acknowledgement: u32::from_be_bytes([a0, a1, a2, a3]),
        window: u16::from_be_bytes([w0, w1]),
        payload_len_bytes: (payload.len() - header_len_bytes) as u16,
        window_scale: None,
        sack_permitted: false,
    };
    if segment.flags.contains(TcpFlags::SYN) {
        read_syn_options(options, &mut segment);
    }
    let source_port = u16::from_be_bytes([s0, s1]);
    Ok(network.packet(source_port, u16::from_be_bytes([d0, d1]), Transport::Tcp(segment)))
}

/// The two options that connection tracking needs. Reading ends at the first malformed one, as the
/// receiver's does: at most 40 bytes.
fn read_syn_options(mut options: &[u8], segment: &mut TcpSegment) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const WINDOW_SCALE: u8 = 3;
    const SACK_PERMITTED: u8 = 4;
    /// RFC 7323, 2.3: a greater one is taken as this.
    const MAX_WINDOW_SCALE: u8 = 14;
    loop {
        options = match *options {
            [] | [END, ..] => return,
            [NO_OPERATION, ref rest @ ..] => rest,
            [kind, len, ..] => {
                let len = usize::from(len);
                if len < 2 || len > options.len() {
                    return;
                }
                let (option, rest) = options.split_at(len);
                match (kind, option) {
                    (WINDOW_SCALE, &[_, _, shift]) => {
                        segment.window_scale = Some(shift.min(MAX_WINDOW_SCALE));
                    }
                    (SACK_PERMITTED, &[_, _]) => segment.sack_permitted = true,
                    _ => {}
                }
                rest
            }
            [_] => return,
        }
    }
}

/// RFC 9260, 3: the common header and the first chunk's.
#[inline]
fn sctp(network: &Network, payload: &[u8]) -> Result<Payload, DropReason> {
    const MIN_CHUNK_LEN_BYTES: u16 = 4;
    let Some(&[s0, s1, d0, d1, v0, v1, v2, v3, _, _, _, _, first_chunk, _, l0, l1]) =
        payload.first_chunk::<16>()
    else {
        return Err(network.cut());
    };
    if u16::from_be_bytes([l0, l1]) < MIN_CHUNK_LEN_BYTES {
        return Err(DropReason::BadTransport);
    }
    let verification_tag = u32::from_be_bytes([v0, v1, v2, v3]);
    Ok(network.packet(
        u16::from_be_bytes([s0, s1]),
        u16::from_be_bytes([d0, d1]),
        Transport::Sctp { verification_tag, first_chunk },
    ))
}
