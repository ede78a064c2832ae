//! Conversations: what each end sends next, by what it has heard.

use podgate_flowtable::{IcmpRole, IpProtocol, TcpFlags};

use crate::cast::{ACTORS, port};
use crate::draw::Draw;

/// A few ports, so that conversations meet the flows of earlier ones, in both directions.
const CLIENT_PORTS: [u16; 6] = [53, 80, 40000, 40001, 40002, 40003];
const SERVER_PORTS: [u16; 5] = [53, 80, 81, 8080, 40000];

/// What is in a packet, beyond its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    Udp,
    Echo(IcmpRole),
    Tcp { flags: TcpFlags, sequence: u32, acknowledgement: u32, len_bytes: u16 },
}

/// One packet from one actor to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    pub from: usize,
    pub to: usize,
    pub is_v6: bool,
    /// Of sender and receiver; both the identifier of an echo.
    pub ports: [u16; 2],
    pub content: Content,
    /// Names what it is part of, for the ledger: conversations may use the same ports. Not on the wire.
    pub connection: u64,
}

/// A client and a server.
pub struct Talk {
    actors: [usize; 2],
    is_v6: bool,
    protocol: IpProtocol,
    ports: [u16; 2],
    ends: [End; 2],
    connection: u64,
}

/// What one end knows.
#[derive(Default)]
struct End {
    has_sent: bool,
    has_heard: bool,
    /// TCP: the next sequence number to send, and the next one expected.
    next: u32,
    expected: u32,
    is_closed: bool,
}

impl End {
    fn new(draw: &mut Draw) -> Self {
        Self { next: draw.number() as u32, ..Self::default() }
    }
}

/// How far ahead an end listens.
const WINDOW: u32 = 1 << 16;

const DATA: TcpFlags = TcpFlags::ACK.with(TcpFlags::PSH);

impl Talk {
    /// Between two actors of whom one at least is a pod of this node.
    pub fn begin(draw: &mut Draw) -> Self {
        let actors = loop {
            let actors = [draw.below(ACTORS), draw.below(ACTORS)];
            if actors[0] != actors[1] && actors.iter().any(|actor| port(*actor).is_some()) {
                break actors;
            }
        };
        let protocol = draw.pick(&[IpProtocol::TCP, IpProtocol::TCP, IpProtocol::UDP, IpProtocol::ICMP]);
        let client_port = draw.pick(&CLIENT_PORTS);
        let server_port = if protocol == IpProtocol::ICMP { client_port } else { draw.pick(&SERVER_PORTS) };
        let ends = [End::new(draw), End::new(draw)];
        let (is_v6, connection) = (draw.one_in(2), draw.number());
        Self { actors, is_v6, protocol, ports: [client_port, server_port], ends, connection }
    }

    /// What one of the ends, chosen at random, sends now; an end that waits may have nothing to say.
    pub fn say(&mut self, draw: &mut Draw) -> Option<Packet> {
        let side = draw.below(2);
        if self.ends[side].is_closed && draw.one_in(4) {
            // The next connection, from the same port.
            self.ends = [End::new(draw), End::new(draw)];
            self.connection = draw.number();
        }
        // A server that was not asked stays silent, mostly.
        if side == 1 && !self.ends[1].has_heard && !draw.one_in(20) {
            return None;
        }
        let content = match self.protocol {
            IpProtocol::TCP => segment(&mut self.ends[side], side, draw)?,
            IpProtocol::UDP => Content::Udp,
            _ => Content::Echo(if side == 0 { IcmpRole::Request } else { IcmpRole::Reply }),
        };
        self.ends[side].has_sent = true;
        Some(Packet {
            from: self.actors[side],
            to: self.actors[1 - side],
            is_v6: self.is_v6,
            ports: [self.ports[side], self.ports[1 - side]],
            content,
            connection: self.connection,
        })
    }

    /// Takes in a packet that arrived, if it is of this conversation.
    pub fn hear(&mut self, packet: &Packet) {
        let Some(sender) = self.actors.iter().position(|actor| *actor == packet.from) else { return };
        let receiver = 1 - sender;
        let is_ours = self.actors[receiver] == packet.to
            && self.is_v6 == packet.is_v6
            && self.ports[sender] == packet.ports[0]
            && self.ports[receiver] == packet.ports[1]
            && self.protocol == protocol(packet.content)
            && self.connection == packet.connection;
        if !is_ours {
            return;
        }
        let end = &mut self.ends[receiver];
        if let Content::Tcp { flags, sequence, len_bytes, .. } = packet.content {
            let is_syn = flags.contains(TcpFlags::SYN);
            if is_syn {
                end.expected = sequence.wrapping_add(1);
            } else if sequence.wrapping_sub(end.expected) < WINDOW {
                // What was lost on the way comes again some time: it is as well to take it for heard.
                let fin = u32::from(flags.contains(TcpFlags::FIN));
                end.expected = sequence.wrapping_add(u32::from(len_bytes)).wrapping_add(fin);
                end.is_closed |= flags.contains(TcpFlags::RST);
            }
            // Data before the handshake means nothing to an end.
            end.has_heard |= is_syn;
        } else {
            end.has_heard = true;
        }
    }
}

/// The protocol of a packet, whose ICMP is of either family.
fn protocol(content: Content) -> IpProtocol {
    match content {
        Content::Udp => IpProtocol::UDP,
        Content::Echo(_) => IpProtocol::ICMP,
        Content::Tcp { .. } => IpProtocol::TCP,
    }
}

/// SYN until it is answered, then data, and an end sooner or later. A forged RST now and then.
fn segment(end: &mut End, side: usize, draw: &mut Draw) -> Option<Content> {
    if end.is_closed && !draw.one_in(10) {
        return None;
    }
    let tcp = |flags, sequence, acknowledgement, len_bytes| {
        Some(Content::Tcp { flags, sequence, acknowledgement, len_bytes })
    };
    if draw.one_in(60) {
        return tcp(TcpFlags::RST, draw.number() as u32, 0, 0);
    }
    if !end.has_sent {
        end.next = end.next.wrapping_add(1);
    }
    let first = end.next.wrapping_sub(1);
    match (side, end.has_heard) {
        (0, false) => tcp(TcpFlags::SYN, first, 0, 0),
        (1, false) => tcp(DATA, end.next, draw.number() as u32, 10),
        (1, true) if !end.has_sent || draw.one_in(4) && first.wrapping_add(1) == end.next => {
            tcp(TcpFlags::SYN.with(TcpFlags::ACK), first, end.expected, 0)
        }
        _ => {
            let sequence = end.next;
            let len_bytes = draw.below(1000) as u16;
            end.next = end.next.wrapping_add(len_bytes.into());
            match draw.below(40) {
                0 => {
                    end.is_closed = true;
                    tcp(TcpFlags::RST.with(TcpFlags::ACK), sequence, end.expected, 0)
                }
                1 => {
                    end.is_closed = true;
                    end.next = end.next.wrapping_add(1);
                    tcp(TcpFlags::FIN.with(TcpFlags::ACK), sequence, end.expected, len_bytes)
                }
                _ => tcp(DATA, sequence, end.expected, len_bytes),
            }
        }
    }
}
