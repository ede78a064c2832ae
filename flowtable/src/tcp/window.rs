//! Which sequence numbers each end of a connection may use now.
//!
//! After van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001), as nf_conntrack's
//! `tcp_in_window` has it, with less memory: the upper edge of what an end may send is taken as the
//! highest acknowledgement it got plus the widest window it was ever offered. That is never
//! narrower than the true edge. SACK blocks are not read.

use crate::TcpSegment;
use crate::entry::Memory;

/// What one end has sent, had acknowledged, and offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Side {
    /// The sequence number after the last that it sent.
    end: u32,
    /// The highest acknowledgement of what it sent.
    acknowledged: u32,
    /// The widest window that it offered, in bytes.
    max_window: u32,
    /// The shift of the windows that it offers (RFC 7323, 2.3).
    scale: u8,
    marks: u16,
}

/// What an end has done.
#[derive(Clone, Copy)]
#[repr(u16)]
pub(super) enum Mark {
    /// Sent anything: `end` is known.
    Heard = 1 << 4,
    /// Had anything acknowledged: `acknowledged` is known.
    Acknowledged = 1 << 5,
    /// Sent a window scale option.
    OfferedScale = 1 << 6,
    /// Sent SYN without ACK.
    SentSyn = 1 << 7,
    /// Sent SYN and ACK.
    AnsweredSyn = 1 << 8,
    SentFin = 1 << 9,
    /// Had its FIN acknowledged.
    FinAcknowledged = 1 << 10,
}

const SCALE_MASK: u16 = 0xf;
const MAX_SCALE: u8 = 14;

/// The least that an acknowledgement may lag behind (`MAXACKWINCONST` of the kernel's tracker:
/// 64 KiB and one segment).
const MIN_ACK_LAG: u32 = 66_000;

/// Where an RST's sequence number lies, as its receiver sees it (RFC 5961, 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acceptance {
    /// At the next byte the receiver expects.
    Exact,
    /// Elsewhere in the receiver's window.
    Inside,
    Outside,
}

impl Side {
    #[inline]
    pub(super) fn has(&self, mark: Mark) -> bool {
        self.marks & mark as u16 != 0
    }

    #[inline]
    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks |= mark as u16;
    }

    /// Whether `sequence` is the next that this end will send.
    #[inline]
    pub(super) fn ends_at(&self, sequence: u32) -> bool {
        self.has(Mark::Heard) && self.end == sequence
    }

    /// Starts over with this end's SYN, or SYN and ACK: their windows are never scaled (RFC 7323, 2.2).
    pub(super) fn begin(&mut self, segment: &TcpSegment) {
        self.marks &= Mark::SentSyn as u16 | Mark::AnsweredSyn as u16;
        self.mark(Mark::Heard);
        let answers = segment.flags.contains(crate::TcpFlags::ACK);
        self.mark(if answers { Mark::AnsweredSyn } else { Mark::SentSyn });
        if segment.window_scale.is_some() {
            self.mark(Mark::OfferedScale);
        }
        self.scale = segment.window_scale.unwrap_or(0).min(MAX_SCALE);
        self.end = end(segment);
        self.max_window = u32::from(segment.window).max(1);
    }

    pub(super) fn assume_widest_scale(&mut self) {
        self.scale = MAX_SCALE;
    }
}

/// Scaling is in force only if both ends offered it (RFC 7323, 2.2).
pub(super) fn agree_on_scale(one: &mut Side, other: &mut Side) {
    if !(one.has(Mark::OfferedScale) && other.has(Mark::OfferedScale)) {
        one.scale = 0;
        other.scale = 0;
    }
}

/// Learns from a segment of `own`, if it lies in the window; a forged one must not move the edges
/// that later decide about an RST.
#[inline]
pub(super) fn observe(own: &mut Side, other: &mut Side, segment: &TcpSegment) {
    if !in_window(own, other, segment) {
        return;
    }
    let end = end(segment);
    if !own.has(Mark::Heard) || is_before(own.end, end) {
        own.end = end;
        own.mark(Mark::Heard);
    }
    let scale = if segment.flags.contains(crate::TcpFlags::SYN) { 0 } else { own.scale };
    own.max_window = own.max_window.max(u32::from(segment.window) << scale).max(1);
    acknowledge(own, other, segment);
}

/// Learns what `own` acknowledges.
#[inline]
pub(super) fn acknowledge(own: &Side, other: &mut Side, segment: &TcpSegment) {
    debug_assert!(own.has(Mark::Heard));
    if !segment.flags.contains(crate::TcpFlags::ACK) {
        return;
    }
    let acknowledgement = segment.acknowledgement;
    if !other.has(Mark::Acknowledged) || is_before(other.acknowledged, acknowledgement) {
        other.acknowledged = acknowledgement;
        other.mark(Mark::Acknowledged);
    }
    if other.has(Mark::SentFin) && !is_before(acknowledgement, other.end) {
        other.mark(Mark::FinAcknowledged);
    }
}

/// The four bounds on what `own` may send and acknowledge; a bound that is not known yet holds.
#[inline]
fn in_window(own: &Side, other: &Side, segment: &TcpSegment) -> bool {
    let acknowledgement = segment.acknowledgement;
    let not_too_new = !own.has(Mark::Acknowledged)
        || !is_before(own.acknowledged.wrapping_add(other.max_window), segment.sequence);
    let not_too_old =
        !own.has(Mark::Heard) || !is_before(end(segment), own.end.wrapping_sub(other.max_window.max(1)));
    let acknowledges_what_was_sent = !segment.flags.contains(crate::TcpFlags::ACK)
        || !other.has(Mark::Heard)
        || (!is_before(other.end, acknowledgement)
            && !is_before(acknowledgement, other.end.wrapping_sub(own.max_window.max(MIN_ACK_LAG))));
    not_too_new && not_too_old && acknowledges_what_was_sent
}

/// Judges an RST that `own` sends.
///
/// A host without the connection resets it at the byte that the other end acknowledged last
/// (RFC 9293, 3.5.2); one that aborts it does so after the last byte that it sent.
pub(super) fn judge_reset(own: &Side, other: &Side, segment: &TcpSegment) -> Acceptance {
    let sequence = segment.sequence;
    let expected = own.has(Mark::Acknowledged) && own.acknowledged == sequence;
    if expected || own.ends_at(sequence) {
        return Acceptance::Exact;
    }
    let inside = own.has(Mark::Acknowledged)
        && !is_before(sequence, own.acknowledged)
        && !is_before(own.acknowledged.wrapping_add(other.max_window), sequence);
    if inside { Acceptance::Inside } else { Acceptance::Outside }
}

/// The sequence number after a segment; SYN and FIN take one each (RFC 9293, 3.4).
#[inline]
fn end(segment: &TcpSegment) -> u32 {
    let flag = |flag| u32::from(segment.flags.contains(flag));
    segment
        .sequence
        .wrapping_add(u32::from(segment.payload_len_bytes))
        .wrapping_add(flag(crate::TcpFlags::SYN))
        .wrapping_add(flag(crate::TcpFlags::FIN))
}

/// Whether `a` comes before `b`, modulo 2^32 (RFC 9293, 3.4).
#[inline]
fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

#[inline]
pub(super) fn load(memory: &Memory) -> [Side; 2] {
    std::array::from_fn(|index| {
        let word = memory.words[index];
        Side {
            end: word as u32,
            acknowledged: (word >> 32) as u32,
            max_window: (memory.words[2] >> (32 * index)) as u32,
            scale: (memory.marks[index] & SCALE_MASK) as u8,
            marks: memory.marks[index] & !SCALE_MASK,
        }
    })
}

#[inline]
pub(super) fn store(sides: &[Side; 2], memory: &mut Memory) {
    for (index, side) in sides.iter().enumerate() {
        memory.words[index] = u64::from(side.end) | u64::from(side.acknowledged) << 32;
        memory.marks[index] = u16::from(side.scale) | side.marks;
    }
    memory.words[2] = u64::from(sides[0].max_window) | u64::from(sides[1].max_window) << 32;
}
