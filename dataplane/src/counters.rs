//! What a worker counts. One writer, any number of readers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::tag::{MAX_PORTS, Passage, PortId, Tag};
use crate::verdict::DropReason;

/// The counters of one worker, all allocated at the start. Readers add up those of all workers.
///
/// Only the worker that owns it may count; then a load and a store do, and no bus lock is taken.
#[derive(Debug)]
pub struct Counters {
    /// By port number. Port 0 is never given out: its row is for frames without a tag.
    rows: Box<[Row]>,
}

/// A port's counters; those of a forwarded frame share the first cache line.
#[derive(Debug)]
#[repr(C, align(64))]
struct Row {
    forwarded: [Forwarded; 2],
    flows_opened: AtomicU64,
    flows_redecided: AtomicU64,
    flows_cut: AtomicU64,
    /// By the passage at which the frame was taken up; without a tag, all in the first.
    drops: [[AtomicU64; DropReason::COUNT]; 2],
}

#[derive(Debug)]
struct Forwarded {
    packets: AtomicU64,
    bytes: AtomicU64,
}

const _: () = assert!(std::mem::offset_of!(Row, drops) <= 64);

/// What was counted for one port, or for several together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortCounts {
    /// Frames taken up from the pod that went on.
    pub from_pod: Traffic,
    /// Frames taken up on their way to the pod that went on.
    pub to_pod: Traffic,
    /// Flows opened.
    pub flows_opened: u64,
    /// Flows that a new policy left as they were.
    pub flows_redecided: u64,
    /// Flows that a new policy ended.
    pub flows_cut: u64,
    drops: [[u64; DropReason::COUNT]; 2],
}

/// Packets and bytes. The trunk's tag is not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Frames.
    pub packets: u64,
    /// Bytes of these frames, from the Ethernet header on.
    pub bytes: u64,
}

impl Counters {
    /// All zero.
    pub fn new() -> Self {
        Self { rows: (0..MAX_PORTS).map(|_| Row::new()).collect() }
    }

    /// What was counted for `port`; `None` is for frames without a tag.
    pub fn port(&self, port: Option<PortId>) -> PortCounts {
        self.rows[port.map_or(0, PortId::index)].read()
    }

    /// What was counted for all ports and for frames without a tag.
    pub fn total(&self) -> PortCounts {
        self.rows.iter().fold(PortCounts::default(), |total, row| total.plus(&row.read()))
    }

    /// What was counted for all ports: all frames that had a tag.
    pub fn total_of_ports(&self) -> PortCounts {
        self.rows[1..].iter().fold(PortCounts::default(), |total, row| total.plus(&row.read()))
    }

    /// Frames of `port` dropped for `reason`.
    pub fn drops(&self, port: Option<PortId>, reason: DropReason) -> u64 {
        let drops = &self.rows[port.map_or(0, PortId::index)].drops;
        drops.iter().map(|passage| passage[reason as usize].load(Relaxed)).sum()
    }

    #[inline]
    pub(crate) fn count_forwarded(&self, taken_up: Tag, len_bytes: u64) {
        let forwarded = &self.rows[taken_up.port.index()].forwarded[passage_index(taken_up.passage)];
        add(&forwarded.packets, 1);
        add(&forwarded.bytes, len_bytes);
    }

    /// `taken_up` is the frame's tag, if it has one.
    pub(crate) fn count_drop(&self, taken_up: Option<Tag>, reason: DropReason) {
        let (row, passage) = taken_up.map_or((0, 0), |tag| (tag.port.index(), passage_index(tag.passage)));
        add(&self.rows[row].drops[passage][reason as usize], 1);
    }

    pub(crate) fn count_flow_opened(&self, port: PortId) {
        add(&self.rows[port.index()].flows_opened, 1);
    }

    pub(crate) fn count_flow_redecided(&self, port: PortId) {
        add(&self.rows[port.index()].flows_redecided, 1);
    }

    pub(crate) fn count_flow_cut(&self, port: PortId) {
        add(&self.rows[port.index()].flows_cut, 1);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Row {
    fn new() -> Self {
        let forwarded = || Forwarded { packets: AtomicU64::new(0), bytes: AtomicU64::new(0) };
        Self {
            forwarded: [forwarded(), forwarded()],
            flows_opened: AtomicU64::new(0),
            flows_redecided: AtomicU64::new(0),
            flows_cut: AtomicU64::new(0),
            drops: [const { [const { AtomicU64::new(0) }; DropReason::COUNT] }; 2],
        }
    }

    fn read(&self) -> PortCounts {
        let traffic = |passage| {
            let forwarded = &self.forwarded[passage_index(passage)];
            Traffic { packets: forwarded.packets.load(Relaxed), bytes: forwarded.bytes.load(Relaxed) }
        };
        PortCounts {
            from_pod: traffic(Passage::FromPod),
            to_pod: traffic(Passage::ToPod),
            flows_opened: self.flows_opened.load(Relaxed),
            flows_redecided: self.flows_redecided.load(Relaxed),
            flows_cut: self.flows_cut.load(Relaxed),
            drops: self.drops.each_ref().map(|passage| passage.each_ref().map(|count| count.load(Relaxed))),
        }
    }
}

impl PortCounts {
    /// Frames dropped for `reason`.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[0][reason as usize] + self.drops[1][reason as usize]
    }

    /// Those of them that were taken up at `passage`. Not to be asked of frames without a tag.
    pub const fn dropped_at(&self, passage: Passage, reason: DropReason) -> u64 {
        self.drops[passage_index(passage)][reason as usize]
    }

    /// Every reason for which frames were dropped, and how many.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.dropped(reason))).filter(|&(_, count)| count > 0)
    }

    /// Both together, as of two workers.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            from_pod: self.from_pod.plus(other.from_pod),
            to_pod: self.to_pod.plus(other.to_pod),
            flows_opened: self.flows_opened + other.flows_opened,
            flows_redecided: self.flows_redecided + other.flows_redecided,
            flows_cut: self.flows_cut + other.flows_cut,
            drops: std::array::from_fn(|passage| {
                std::array::from_fn(|reason| self.drops[passage][reason] + other.drops[passage][reason])
            }),
        }
    }
}

impl Default for PortCounts {
    fn default() -> Self {
        Self {
            from_pod: Traffic::default(),
            to_pod: Traffic::default(),
            flows_opened: 0,
            flows_redecided: 0,
            flows_cut: 0,
            drops: [[0; DropReason::COUNT]; 2],
        }
    }
}

impl Traffic {
    const fn plus(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

const fn passage_index(passage: Passage) -> usize {
    match passage {
        Passage::FromPod => 0,
        Passage::ToPod => 1,
    }
}

/// Not `fetch_add`: there is one writer.
#[inline]
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_counts_where_its_frame_was_taken_up() {
        let counters = Counters::new();
        let port = PortId::new(7).unwrap();
        let reason = DropReason::Martian;
        for tag in [Some(Tag::from_pod(port)), Some(Tag::to_pod(port)), Some(Tag::to_pod(port)), None] {
            counters.count_drop(tag, reason);
        }
        let of_port = counters.port(Some(port));
        let at = |passage| of_port.dropped_at(passage, reason);
        assert_eq!([at(Passage::FromPod), at(Passage::ToPod)], [1, 2]);
        assert_eq!((of_port.dropped(reason), counters.drops(Some(port), reason)), (3, 3));
        assert_eq!(counters.drops(None, reason), 1);
        assert_eq!(counters.total_of_ports(), of_port);
        assert_eq!(counters.total().drops().collect::<Vec<_>>(), [(reason, 4)]);
    }
}
