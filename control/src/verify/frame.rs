//! Frames written as they are on the wire.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep, TcpHeader};
use podgate_dataplane::mac::Mac;

use super::Flags;

/// Who a frame is from and for, as it claims. If only one of the addresses is IPv4, it is written
/// in its IPv6 form. Payloads are shorter than a datagram can be; one that is not leaves no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Source MAC address.
    pub from_mac: Mac,
    /// Destination MAC address.
    pub to_mac: Mac,
    /// Source address.
    pub from: IpAddr,
    /// Destination address; of the same family.
    pub to: IpAddr,
}

impl Route {
    /// A UDP datagram.
    pub fn udp(&self, from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
        let packet = self.network().udp(from_port, to_port);
        let mut frame = Vec::with_capacity(packet.size(payload.len()));
        let _ = packet.write(&mut frame, payload);
        frame
    }

    /// A TCP segment without payload. A SYN has the sequence number 1000, all else 1001.
    pub fn tcp(&self, from_port: u16, to_port: u16, flags: Flags) -> Vec<u8> {
        let mut header = TcpHeader::new(from_port, to_port, if flags.syn { 1000 } else { 1001 }, 64_240);
        (header.syn, header.ack, header.fin, header.rst) = (flags.syn, flags.ack, flags.fin, flags.rst);
        header.acknowledgment_number = if header.ack { 1001 } else { 0 };
        let mut frame = Vec::new();
        let _ = self.network().tcp_header(header).write(&mut frame, &[]);
        frame
    }

    /// An ICMP echo request of the addresses' family.
    pub fn echo(&self, identifier: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        let network = self.network();
        let _ = if self.families_are_v4() {
            network.icmpv4_echo_request(identifier, 1).write(&mut frame, b"podgate")
        } else {
            network.icmpv6_echo_request(identifier, 1).write(&mut frame, b"podgate")
        };
        frame
    }

    /// An SCTP INIT chunk (RFC 9260, 3.3.2). Its CRC is not filled in: no kernel here reads it.
    pub fn sctp_init(&self, from_port: u16, to_port: u16) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend(from_port.to_be_bytes());
        payload.extend(to_port.to_be_bytes());
        payload.extend([0; 8]);
        payload.extend([1, 0, 0, 20]);
        payload.extend(0x1234_5678_u32.to_be_bytes());
        payload.extend(65535_u32.to_be_bytes());
        payload.extend([0, 1, 0, 1]);
        payload.extend(1_u32.to_be_bytes());
        self.packet(IpNumber::SCTP, &payload)
    }

    /// A packet of any protocol, its payload given whole.
    pub fn packet(&self, protocol: IpNumber, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let _ = self.network().write(&mut frame, protocol, payload);
        frame
    }

    fn families_are_v4(&self) -> bool {
        self.from.is_ipv4() && self.to.is_ipv4()
    }

    fn network(&self) -> PacketBuilderStep<IpHeaders> {
        /// Neighbour discovery is believed with this one only (RFC 4861, 7.1).
        const HOP_LIMIT: u8 = 255;
        const TIME_TO_LIVE: u8 = 64;
        let link = PacketBuilder::ethernet2(self.from_mac.0, self.to_mac.0);
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), TIME_TO_LIVE),
            (from, to) => link.ipv6(as_v6(from).octets(), as_v6(to).octets(), HOP_LIMIT),
        }
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
