//! What the flow table is compared with: a general concurrent map that does the same work.

use std::collections::hash_map::RandomState;
use std::hint::black_box;
use std::time::Duration;

use dashmap::DashMap;
use podgate_flowtable::{Addr, Decision, Direction, IpProtocol, Packet, Time, Tuple};

use crate::flows::{DECISION, Flows};

/// How long a UDP flow may be silent.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Both ends sorted, so that a packet and its answer have the same key.
type Key = [(Addr, u16); 2];

/// As much of a UDP flow as the flow table keeps.
struct Remembered {
    original: Tuple,
    decision: Decision,
    is_replied: bool,
    opened: Time,
    last_seen: Time,
    packets: [u64; 2],
    bytes: [u64; 2],
}

/// Flows in a [`DashMap`]. Keyed by SipHash, which is the map's default; the flow table's hash is keyed too.
pub struct Map(DashMap<(Key, IpProtocol), Remembered, RandomState>);

fn key(tuple: &Tuple) -> (Key, IpProtocol) {
    let mut ends = [(tuple.source, tuple.source_port), (tuple.destination, tuple.destination_port)];
    ends.sort_unstable();
    (ends, tuple.protocol)
}

impl Flows for Map {
    type Id = (Key, IpProtocol);

    fn with_capacity(capacity: usize) -> Self {
        Self(DashMap::with_capacity_and_hasher(capacity, RandomState::new()))
    }

    #[inline]
    fn open(&self, packet: &Packet, now: Time) -> Self::Id {
        let flow = Remembered {
            original: packet.tuple,
            decision: DECISION,
            is_replied: false,
            opened: now,
            last_seen: now,
            packets: [1, 0],
            bytes: [packet.len_bytes.into(), 0],
        };
        self.0.insert(key(&packet.tuple), flow);
        key(&packet.tuple)
    }

    fn remove(&self, id: Self::Id) {
        self.0.remove(&id);
    }

    #[inline]
    fn track(&self, packet: &Packet, now: Time) -> Option<Direction> {
        let mut flow = self.0.get_mut(&key(&packet.tuple))?;
        if now.since(flow.last_seen) > TIMEOUT {
            return None;
        }
        let is_original = flow.original == packet.tuple;
        let direction = if is_original { Direction::Original } else { Direction::Reply };
        flow.is_replied |= !is_original && now.since(flow.opened) < TIMEOUT;
        flow.last_seen = now;
        flow.packets[direction.index()] += 1;
        flow.bytes[direction.index()] += u64::from(packet.len_bytes);
        black_box(flow.decision);
        Some(direction)
    }

    fn track_batch(&self, packets: &[Packet], now: Time, mut each: impl FnMut(usize, Option<Direction>)) {
        for (at, packet) in packets.iter().enumerate() {
            each(at, self.track(packet, now));
        }
    }

    fn expire_all(&self, now: Time) {
        self.0.retain(|_, flow| now.since(flow.last_seen) <= TIMEOUT);
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}
