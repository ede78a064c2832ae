//! Which sequence numbers each end of a connection may use now.
//!
//! After van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001), as nf_conntrack's
//! `tcp_in_window` has it, with less memory: the upper edge of what an end may send is taken as the
//! highest acknowledgement it got plus the widest window it was ever offered. That is never
//! narrower than the true edge.
//!
//! Only the two upper bounds refuse: data beyond the receiver's window, and the acknowledgement of
//! what was never sent. What lies below the lower bounds is late, not forged: a retransmission whose
//! acknowledgement was lost, an ACK that another worker overtook. It is let through and teaches
//! nothing. So a segment that was admitted once always is, and SACK blocks need not be read: they
//! would widen the lower bounds only.

use crate::TcpSegment;
use crate::entry::Memory;

/// What one end has sent, had acknowledged, and offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Side {
    /// The sequence number after the last that it sent.
    end: u32,
    /// The highest acknowledgement of what it sent; until there is one, its initial number.
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
    /// Its windows are not known well enough to refuse anything, as with nf_conntrack's
    /// `IP_CT_TCP_FLAG_BE_LIBERAL`. Only a handshake seen in full ends that.
    Liberal = 1 << 11,
    /// Sent a SYN on a connection that lives: the answer will tell whether there is a new one.
    AskedAgain = 1 << 12,
}

const SCALE_MASK: u16 = 0xf;
const MAX_SCALE: u8 = 14;

/// The least that an acknowledgement may lag behind (`MAXACKWINCONST` of the kernel's tracker:
/// 64 KiB and one segment).
const MIN_ACK_LAG: u32 = 66_000;

/// How far an acknowledgement may be ahead of what was seen. Of a datagram in fragments only the
/// first one's length is seen, and the whole has up to 64 KiB.
const MAX_UNSEEN: u32 = 1 << 16;

/// Where a segment lies, by the bounds on what an end may send and acknowledge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// Within all of them, as far as they are known.
    Inside,
    /// Below a lower one: sent, or on its way, for a long time.
    Old,
    /// Beyond an upper one.
    Outside,
}

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

    /// Whether this end's SYN, the last thing it sent, is acknowledged by `acknowledgement`; the data
    /// that came with it need not be (RFC 7413, 4.2.2).
    #[inline]
    pub(super) fn is_answered_by(&self, acknowledgement: u32) -> bool {
        self.has(Mark::Heard)
            && is_before(self.acknowledged, acknowledgement)
            && !is_before(self.end, acknowledgement)
    }

    /// Starts over with this end's SYN, or SYN and ACK: their windows are never scaled (RFC 7323, 2.2).
    pub(super) fn begin(&mut self, segment: &TcpSegment) {
        let repeats =
            self.has(Mark::Heard) && !self.has(Mark::Acknowledged) && self.acknowledged == segment.sequence;
        // Sent again, a SYN may leave out the data that it carried at first.
        let end = if repeats && is_before(end(segment), self.end) { self.end } else { end(segment) };
        self.marks &= Mark::SentSyn as u16 | Mark::AnsweredSyn as u16;
        self.mark(Mark::Heard);
        let answers = segment.flags.contains(crate::TcpFlags::ACK);
        self.mark(if answers { Mark::AnsweredSyn } else { Mark::SentSyn });
        if segment.window_scale.is_some() {
            self.mark(Mark::OfferedScale);
        }
        self.scale = segment.window_scale.unwrap_or(0).min(MAX_SCALE);
        self.end = end;
        self.acknowledged = segment.sequence;
        self.max_window = u32::from(segment.window).max(1);
    }

    /// Starts over with a SYN whose numbers were not kept: its answer tells them. If the answer
    /// `offers_scale`, the SYN did, and nobody knows which.
    pub(super) fn begin_unseen(&mut self, acknowledgement: u32, offers_scale: bool) {
        *self = Self {
            end: acknowledgement,
            acknowledged: acknowledgement,
            max_window: u32::from(u16::MAX),
            scale: if offers_scale { MAX_SCALE } else { 0 },
            marks: Mark::SentSyn as u16 | Mark::Heard as u16 | Mark::Acknowledged as u16,
        };
        if offers_scale {
            self.mark(Mark::OfferedScale);
        }
    }

    /// The connection was there before: any window scale may be in force (RFC 7323, 2.3: 14 at most).
    pub(super) fn be_liberal(&mut self) {
        self.scale = MAX_SCALE;
        self.mark(Mark::Liberal);
    }

    /// Whether a segment that ends at `end` may have been the last this end sent, a while ago.
    #[inline]
    pub(super) fn has_sent(&self, end: u32) -> bool {
        !is_before(self.end, end) && !is_before(end, self.end.wrapping_sub(MIN_ACK_LAG))
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
pub(super) fn observe(own: &mut Side, other: &mut Side, segment: &TcpSegment) -> Fit {
    let fit = fit(own, other, segment);
    match fit {
        Fit::Inside => {}
        Fit::Old | Fit::Outside if own.has(Mark::Liberal) => resume(own, other, segment),
        Fit::Old | Fit::Outside => return fit,
    }
    let end = end(segment);
    if !own.has(Mark::Heard) || is_before(own.end, end) {
        own.end = end;
        own.mark(Mark::Heard);
    }
    let scale = if segment.flags.contains(crate::TcpFlags::SYN) { 0 } else { own.scale };
    own.max_window = own.max_window.max(u32::from(segment.window) << scale).max(1);
    acknowledge(own, other, segment);
    Fit::Inside
}

/// Takes up a connection whose numbers have moved on unseen.
#[cold]
fn resume(own: &mut Side, other: &mut Side, segment: &TcpSegment) {
    own.end = end(segment);
    own.mark(Mark::Heard);
    if segment.flags.contains(crate::TcpFlags::ACK) {
        other.acknowledged = segment.acknowledgement;
        other.mark(Mark::Acknowledged);
        if other.has(Mark::Heard) && is_before(other.end, segment.acknowledgement) {
            other.end = segment.acknowledgement;
        }
    }
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

/// Holds a segment against the four bounds on what `own` may send and acknowledge. One without data
/// only acknowledges, whatever its sequence number.
#[inline]
fn fit(own: &Side, other: &Side, segment: &TcpSegment) -> Fit {
    let (end, acknowledgement) = (end(segment), segment.acknowledgement);
    let sends = end != segment.sequence;
    let acknowledges = segment.flags.contains(crate::TcpFlags::ACK) && other.has(Mark::Heard);
    let beyond_window = sends
        && own.has(Mark::Acknowledged)
        && is_before(own.acknowledged.wrapping_add(other.max_window), segment.sequence);
    let beyond_sent = acknowledges && is_before(other.end.wrapping_add(MAX_UNSEEN), acknowledgement);
    if beyond_window || beyond_sent {
        return Fit::Outside;
    }
    let below =
        |bound: u32, window: u32, number: u32| is_before(number, bound.wrapping_sub(window.max(MIN_ACK_LAG)));
    let is_old = (sends && own.has(Mark::Heard) && below(own.end, other.max_window, end))
        || (acknowledges && below(other.end, own.max_window, acknowledgement));
    if is_old { Fit::Old } else { Fit::Inside }
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
pub(super) fn end(segment: &TcpSegment) -> u32 {
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
