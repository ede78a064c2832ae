//! Packets and tables for the tests.
#![allow(dead_code, missing_docs, reason = "each test binary uses a part")]

use std::time::Duration;

use podgate_flowtable::{
    Addr, Config, Decision, Epoch, FlowTable, HashSecret, IcmpRole, IpProtocol, Packet, TcpFlags, TcpSegment,
    Time, Timeouts, Transport, Tuple, Way,
};

/// The table's tick: times in tests are multiples, so that nothing is rounded.
pub const TICK_NANOS: u64 = 1 << 20;

pub const LEN_BYTES: u32 = 60;

pub fn ticks(count: u64) -> Time {
    Time::from_nanos(count * TICK_NANOS)
}

pub fn config(capacity: usize) -> Config {
    Config {
        capacity,
        secret: HashSecret([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]),
        timeouts: Timeouts::default(),
        pickup_until: Time::default(),
    }
}

pub fn table(capacity: usize) -> FlowTable {
    FlowTable::new(config(capacity)).unwrap()
}

pub fn decision(number: u32) -> Decision {
    Decision {
        epoch: Epoch(number),
        egress: number + 1,
        ingress: number + 2,
        way: if number.is_multiple_of(2) { Way::Shortcut } else { Way::Bridge },
        owner: number as u16,
    }
}

/// The tuple of client number `flow` to the server.
pub fn tuple(flow: u32, protocol: IpProtocol) -> Tuple {
    Tuple {
        source: Addr::from_v4((0x0a00_0000 + (flow >> 12)).to_be_bytes()),
        destination: Addr::from_v4([10, 200, 0, 1]),
        source_port: (flow & 0xfff) as u16 + 1024,
        destination_port: 80,
        protocol,
    }
}

pub fn packet(tuple: Tuple, transport: Transport) -> Packet {
    Packet { tuple, transport, len_bytes: LEN_BYTES }
}

pub fn udp(flow: u32) -> Packet {
    packet(tuple(flow, IpProtocol::UDP), Transport::Udp)
}

/// A segment of client number `flow`, the handshake's numbers beginning at 0.
pub fn tcp(flow: u32, flags: TcpFlags) -> Packet {
    let sequence = u32::from(!flags.contains(TcpFlags::SYN));
    let segment = TcpSegment { flags, sequence, acknowledgement: 1, window: 1000, ..TcpSegment::default() };
    packet(tuple(flow, IpProtocol::TCP), Transport::Tcp(segment))
}

pub fn icmp(flow: u32, role: IcmpRole) -> Packet {
    let tuple = tuple(flow, IpProtocol::ICMP);
    let identifier = tuple.source_port;
    packet(Tuple { destination_port: identifier, ..tuple }, Transport::Icmp(role))
}

pub fn answer(packet: Packet) -> Packet {
    Packet { tuple: packet.tuple.reversed(), ..packet }
}

pub const SYN: TcpFlags = TcpFlags::SYN;
pub const SYN_ACK: TcpFlags = TcpFlags::SYN.with(TcpFlags::ACK);
pub const ACK: TcpFlags = TcpFlags::ACK;
pub const RST_ACK: TcpFlags = TcpFlags::RST.with(TcpFlags::ACK);

pub fn in_ticks(duration: Duration) -> u64 {
    (duration.as_nanos() as u64).div_ceil(TICK_NANOS)
}

/// Opens client number `flow`'s connection and completes its handshake.
pub fn establish(table: &FlowTable, flow: u32, now: Time) {
    table.open(&tcp(flow, SYN), decision(flow), now).unwrap();
    table.track(&answer(tcp(flow, SYN_ACK)), now);
    table.track(&tcp(flow, ACK), now);
}
