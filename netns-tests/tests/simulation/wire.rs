//! Frames on their way: lost, repeated, out of order.

use std::collections::VecDeque;

use etherparse::{IpNumber, TcpHeader};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::tag::{PortId, Tag};
use podgate_flowtable::{Addr, IcmpRole, IpProtocol, TcpFlags, Tuple};
use podgate_netns_tests::frame::Route;
use podgate_netns_tests::gate::tagged;

use crate::draw::Draw;
use crate::talk::{Content, Packet};

/// A frame about to meet the gate.
#[derive(Clone)]
pub struct Frame {
    /// Where.
    pub tag: Tag,
    /// As the trunk carries it.
    pub bytes: Vec<u8>,
    /// What it says on it.
    pub tuple: Tuple,
    /// What it is.
    pub packet: Packet,
    /// Whether it says so falsely.
    pub is_spoofed: bool,
}

impl Frame {
    pub fn new(tag: Tag, route: &Route, packet: Packet, is_spoofed: bool) -> Self {
        let [source_port, destination_port] = packet.ports;
        let (protocol, bytes) = match packet.content {
            Content::Udp => (IpProtocol::UDP, route.udp(source_port, destination_port, b"simulated")),
            Content::Echo(role) => {
                let (protocol, types) =
                    if packet.is_v6 { (IpProtocol::ICMPV6, [128, 129]) } else { (IpProtocol::ICMP, [8, 0]) };
                let mut message = [types[usize::from(role == IcmpRole::Reply)], 0, 0, 0, 0, 0, 0, 1];
                message[4..6].copy_from_slice(&source_port.to_be_bytes());
                (protocol, route.packet(IpNumber(protocol.0), &message))
            }
            Content::Tcp { flags, sequence, acknowledgement, len_bytes } => {
                let mut header = TcpHeader::new(source_port, destination_port, sequence, 64_240);
                header.acknowledgment_number = acknowledgement;
                header.syn = flags.contains(TcpFlags::SYN);
                header.ack = flags.contains(TcpFlags::ACK);
                header.fin = flags.contains(TcpFlags::FIN);
                header.rst = flags.contains(TcpFlags::RST);
                header.psh = flags.contains(TcpFlags::PSH);
                let segment = [&header.to_bytes()[..], &vec![0; len_bytes.into()]].concat();
                (IpProtocol::TCP, route.packet(IpNumber::TCP, &segment))
            }
        };
        let tuple = Tuple {
            source: Addr::from(route.from),
            destination: Addr::from(route.to),
            source_port,
            destination_port,
            protocol,
        };
        Self { tag, bytes: tagged(tag, &bytes), tuple, packet, is_spoofed }
    }

    /// The same, on its way into the pod at `receiver`.
    pub fn brought_to(&self, receiver: PortId, from_mac: Mac, to_mac: Mac) -> Self {
        let tag = Tag::to_pod(receiver);
        let mut bytes = self.bytes.clone();
        bytes[..6].copy_from_slice(&to_mac.0);
        bytes[6..12].copy_from_slice(&from_mac.0);
        bytes[14..16].copy_from_slice(&tag.tci().to_be_bytes());
        Self { tag, bytes, ..self.clone() }
    }

    /// Whether it answers an echo request, and so opens nothing.
    pub fn is_answer(&self) -> bool {
        self.packet.content == Content::Echo(IcmpRole::Reply)
    }
}

/// What is under way.
#[derive(Default)]
pub struct Wire {
    frames: VecDeque<Frame>,
}

impl Wire {
    pub fn put(&mut self, frame: Frame) {
        self.frames.push_back(frame);
    }

    /// The next frame, mostly the oldest. Some never come, some come twice.
    pub fn take(&mut self, draw: &mut Draw) -> Option<Frame> {
        let at = if draw.one_in(8) && !self.frames.is_empty() { draw.below(self.frames.len()) } else { 0 };
        let frame = self.frames.remove(at)?;
        if draw.one_in(40) {
            return None;
        }
        if draw.one_in(30) {
            self.frames.push_back(frame.clone());
        }
        Some(frame)
    }
}
