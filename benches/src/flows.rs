//! Flows of many clients, and what a table of flows can be asked to do.

use arrayvec::ArrayVec;
use podgate_dataplane::raw::prefer_huge_pages;
use podgate_flowtable::{
    Addr, Decision, Direction, Epoch, ExpiryCursor, FlowId, FlowTable, IpProtocol, Packet, Time, Track,
    Transport, Tuple, Way,
};
use podgate_netns_tests::GateState;

/// Packets of one batch, as a worker takes them.
pub const BATCH: usize = 64;

/// The verdict of every flow here.
pub const DECISION: Decision =
    Decision { epoch: Epoch(1), egress: 1, ingress: 2, way: Way::Bridge, owner: 1 };

/// Remembers flows.
pub trait Flows: Sync {
    /// Names a flow.
    type Id;

    /// Empty, with room for `capacity` flows.
    fn with_capacity(capacity: usize) -> Self;

    /// Records the flow that `packet` opens; there is room.
    fn open(&self, packet: &Packet, now: Time) -> Self::Id;

    /// Forgets a flow.
    fn remove(&self, id: Self::Id);

    /// Which way the packet goes on its flow, which it renews.
    fn track(&self, packet: &Packet, now: Time) -> Option<Direction>;

    /// The same for every packet of a batch of at most [`BATCH`]; `each` is given their numbers.
    fn track_batch(&self, packets: &[Packet], now: Time, each: impl FnMut(usize, Option<Direction>));

    /// Forgets all flows that have been silent for too long.
    fn expire_all(&self, now: Time);

    /// Flows that are remembered.
    fn count(&self) -> usize;
}

impl Flows for FlowTable {
    type Id = FlowId;

    fn with_capacity(capacity: usize) -> Self {
        let flows = GateState::new(capacity, 1).flows;
        if let Err(error) = prefer_huge_pages(&flows) {
            eprintln!("{error}");
        }
        flows
    }

    #[inline]
    fn open(&self, packet: &Packet, now: Time) -> FlowId {
        self.open(packet, DECISION, now).expect("there is room")
    }

    fn remove(&self, id: FlowId) {
        self.remove(id);
    }

    #[inline]
    fn track(&self, packet: &Packet, now: Time) -> Option<Direction> {
        known(self.track(packet, now))
    }

    fn track_batch(&self, packets: &[Packet], now: Time, mut each: impl FnMut(usize, Option<Direction>)) {
        let seeks: ArrayVec<_, BATCH> = packets.iter().map(|packet| self.seek(packet)).collect();
        for seek in &seeks {
            self.fetch(seek);
        }
        for (at, (packet, seek)) in packets.iter().zip(&seeks).enumerate() {
            each(at, known(self.track_at(seek, packet, now)));
        }
    }

    fn expire_all(&self, now: Time) {
        self.expire(&mut ExpiryCursor::default(), now, usize::MAX);
    }

    fn count(&self) -> usize {
        self.len()
    }
}

#[inline]
fn known(track: Track) -> Option<Direction> {
    match track {
        Track::Known(known) => Some(known.direction),
        Track::Denied(_) | Track::MayOpen | Track::Refused(_) => None,
    }
}

/// A datagram of flow number `flow`, below 2^24.
#[inline]
pub fn datagram(flow: u32) -> Packet {
    let tuple = Tuple {
        source: Addr::from_v4((0x0a00_0000 + (flow >> 12)).to_be_bytes()),
        destination: Addr::from_v4([10, 200, 0, 1]),
        source_port: (flow & 0xfff) as u16 + 1024,
        destination_port: 53,
        protocol: IpProtocol::UDP,
    };
    Packet { tuple, transport: Transport::Udp, len_bytes: 60 }
}

/// What comes back on the flow of `packet`.
#[inline]
pub fn back(packet: Packet) -> Packet {
    Packet { tuple: packet.tuple.reversed(), ..packet }
}
