//! How a flow is laid out in its entry's words.
//!
//! | word | holds |
//! |---|---|
//! | 0 | ports, protocol and asker 41, originator 1, way 1, owner 16, alias 1, translated 1 |
//! | 1, 2 | low address |
//! | 3 | clock: last seen 40, state 5, assurance 1, opened (high part) 8, partner (low part) 10 |
//! | 4, 5 | epoch 32, egress 32; ingress 32, opened (low part) 32 |
//! | 6 | third word of the protocol tracker's memory |
//! | 7, 8 | high address |
//! | 9, 10 | packets 48, the tracker's marks 16; original, then reply |
//! | 11, 12 | bytes 55, partner (middle, high part) 9; original, then reply |
//! | 13, 14 | first words of the tracker's memory |
//!
//! The version and words 0..7 are one cache line. The key lies in both lines, so that comparing it
//! fetches both before the compare-exchange, behind which loads may have to wait.

use crate::key::{End, Key};
use crate::state::{Assurance, CODE_BITS, FlowState};
use crate::timeout::TICK_WIDTH;
use crate::{Addr, Decision, Epoch, Way};

pub(super) const WORDS: usize = 15;
pub(super) const NAME: usize = 0;
pub(super) const LOW: usize = 1;
pub(super) const CLOCK: usize = 3;
pub(super) const CAUSES: usize = 4;
pub(super) const WINDOWS: usize = 6;
pub(super) const HIGH: usize = 7;
pub(super) const PACKETS: usize = 9;
pub(super) const BYTES: usize = 11;
pub(super) const MEMORY: usize = 13;

const ORIGINATOR_SHIFT: u32 = Key::ENDS_BITS;
const WAY_SHIFT: u32 = ORIGINATOR_SHIFT + 1;
const OWNER_SHIFT: u32 = WAY_SHIFT + 1;
const CODE_SHIFT: u32 = TICK_WIDTH;
const ASSURANCE_SHIFT: u32 = CODE_SHIFT + CODE_BITS;
pub(super) const OPENED_SHIFT: u32 = ASSURANCE_SHIFT + 1;
const OPENED_HIGH_BITS: u32 = TICK_WIDTH - 32;
const PARTNER_SHIFT: u32 = OPENED_SHIFT + OPENED_HIGH_BITS;
const PARTNER_LOW_BITS: u32 = 64 - PARTNER_SHIFT;
const BYTES_BITS: u32 = 55;
pub(super) const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;
const PARTNER_PART_BITS: u32 = 64 - BYTES_BITS;
const PARTNER_BITS: u32 = PARTNER_LOW_BITS + 2 * PARTNER_PART_BITS;
/// The slot is an alias, see `alias`.
pub(super) const ALIAS: u64 = 1 << (OWNER_SHIFT + u16::BITS);
/// The flow has one.
pub(super) const TRANSLATED: u64 = ALIAS << 1;
pub(super) const PACKET_BITS: u32 = 48;
pub(super) const PACKETS_MASK: u64 = (1 << PACKET_BITS) - 1;

/// What a protocol's tracker keeps of a flow besides its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Memory {
    /// A few bits for each direction.
    pub(crate) marks: [u16; 2],
    /// Words whose meaning is the tracker's.
    pub(crate) words: [u64; 3],
}

/// When a flow was last heard of and where it stands: what expiry needs, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Clock {
    pub(crate) last_seen: u64,
    pub(crate) state: FlowState,
    pub(crate) assurance: Assurance,
}

impl Clock {
    #[inline]
    pub(super) fn unpack(word: u64) -> Self {
        let assured = word >> ASSURANCE_SHIFT & 1 == 1;
        Self {
            last_seen: word & ((1 << TICK_WIDTH) - 1),
            state: FlowState::from_code((word >> CODE_SHIFT) as u8 & ((1 << CODE_BITS) - 1)),
            assurance: if assured { Assurance::Assured } else { Assurance::Tentative },
        }
    }

    #[inline]
    pub(super) fn pack(self) -> u64 {
        self.last_seen
            | u64::from(self.state.code()) << CODE_SHIFT
            | (self.assurance as u64) << ASSURANCE_SHIFT
    }
}

/// Everything an entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) originator: End,
    pub(crate) decision: Decision,
    pub(crate) clock: Clock,
    /// Tick.
    pub(crate) opened: u64,
    pub(crate) packets: [u64; 2],
    pub(crate) bytes: [u64; 2],
    pub(crate) memory: Memory,
    /// Where its alias is, if the originator knows the other end by another address.
    pub(crate) partner: Option<Slot>,
}

/// The number of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(pub(crate) u32);

const _: () = assert!(crate::MAX_CAPACITY * 2 <= 1 << PARTNER_BITS);

impl Record {
    pub(super) fn pack(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        set_key(&mut words, &self.key, self.originator);
        words[CLOCK] = self.clock.pack() | (self.opened >> 32) << OPENED_SHIFT;
        words[CAUSES + 1] = u64::from(self.opened as u32);
        set_decision(&mut words, &self.decision);
        for side in 0..2 {
            words[PACKETS + side] = self.packets[side] & PACKETS_MASK;
            words[BYTES + side] = self.bytes[side] & BYTES_MASK;
        }
        set_memory(&mut words, &self.memory);
        if let Some(partner) = self.partner {
            set_partner(&mut words, partner);
        }
        words
    }

    pub(super) fn unpack(words: &[u64; WORDS]) -> Self {
        let address = |at: usize| Addr::from_bits(u128::from(words[at]) | u128::from(words[at + 1]) << 64);
        Self {
            key: Key { low: address(LOW), high: address(HIGH), ends: words[NAME] & Key::ENDS_MASK },
            originator: originator(words[NAME]),
            decision: decision(words[NAME], words[CAUSES], words[CAUSES + 1]),
            clock: Clock::unpack(words[CLOCK]),
            opened: opened(words[CLOCK], words[CAUSES + 1]),
            packets: [words[PACKETS] & PACKETS_MASK, words[PACKETS + 1] & PACKETS_MASK],
            bytes: [words[BYTES] & BYTES_MASK, words[BYTES + 1] & BYTES_MASK],
            memory: Memory {
                marks: [marks(words[PACKETS]), marks(words[PACKETS + 1])],
                words: [words[MEMORY], words[MEMORY + 1], words[WINDOWS]],
            },
            partner: partner(words),
        }
    }
}

pub(super) fn set_key(words: &mut [u64; WORDS], key: &Key, originator: End) {
    for (at, address) in [(LOW, key.low), (HIGH, key.high)] {
        words[at] = address.bits() as u64;
        words[at + 1] = (address.bits() >> 64) as u64;
    }
    words[NAME] = key.ends | u64::from(originator == End::High) << ORIGINATOR_SHIFT;
}

#[inline]
pub(super) fn originator(name: u64) -> End {
    if name >> ORIGINATOR_SHIFT & 1 == 0 { End::Low } else { End::High }
}

#[inline]
pub(super) fn decision(name: u64, first: u64, second: u64) -> Decision {
    Decision {
        epoch: Epoch((first >> 32) as u32),
        egress: first as u32,
        ingress: (second >> 32) as u32,
        way: if name >> WAY_SHIFT & 1 == 0 { Way::Shortcut } else { Way::Bridge },
        owner: owner(name),
    }
}

#[inline]
pub(super) fn owner(name: u64) -> u16 {
    (name >> OWNER_SHIFT) as u16
}

pub(super) fn set_decision(words: &mut [u64; WORDS], decision: &Decision) {
    let kept = ((1 << WAY_SHIFT) - 1) | TRANSLATED;
    words[NAME] = words[NAME] & kept
        | u64::from(decision.way == Way::Bridge) << WAY_SHIFT
        | u64::from(decision.owner) << OWNER_SHIFT;
    words[CAUSES] = u64::from(decision.epoch.0) << 32 | u64::from(decision.egress);
    words[CAUSES + 1] = u64::from(words[CAUSES + 1] as u32) | u64::from(decision.ingress) << 32;
}

pub(super) fn set_memory(words: &mut [u64; WORDS], memory: &Memory) {
    for side in 0..2 {
        words[PACKETS + side] =
            words[PACKETS + side] & PACKETS_MASK | u64::from(memory.marks[side]) << PACKET_BITS;
    }
    [words[MEMORY], words[MEMORY + 1], words[WINDOWS]] = memory.words;
}

#[inline]
pub(super) fn opened(clock: u64, second: u64) -> u64 {
    let high = clock >> OPENED_SHIFT & ((1 << OPENED_HIGH_BITS) - 1);
    high << 32 | u64::from(second as u32)
}

pub(super) fn partner(words: &[u64; WORDS]) -> Option<Slot> {
    let slot = words[CLOCK] >> PARTNER_SHIFT
        | words[BYTES] >> BYTES_BITS << PARTNER_LOW_BITS
        | words[BYTES + 1] >> BYTES_BITS << (PARTNER_LOW_BITS + PARTNER_PART_BITS);
    (words[NAME] & TRANSLATED != 0).then_some(Slot(slot as u32))
}

pub(super) fn set_partner(words: &mut [u64; WORDS], Slot(slot): Slot) {
    let slot = u64::from(slot);
    let low_mask = (1 << PARTNER_SHIFT) - 1;
    words[NAME] |= TRANSLATED;
    words[CLOCK] = words[CLOCK] & low_mask | slot << PARTNER_SHIFT;
    words[BYTES] = words[BYTES] & BYTES_MASK | slot >> PARTNER_LOW_BITS << BYTES_BITS;
    words[BYTES + 1] =
        words[BYTES + 1] & BYTES_MASK | slot >> (PARTNER_LOW_BITS + PARTNER_PART_BITS) << BYTES_BITS;
}

#[inline]
pub(super) fn marks(packets: u64) -> u16 {
    (packets >> PACKET_BITS) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IpProtocol, TcpState, Tuple};

    #[test]
    fn every_field_at_its_limits_comes_back() {
        let tuple = Tuple {
            source: Addr::from_v6([0xff; 16]),
            destination: Addr::from_v6([0x80; 16]),
            source_port: u16::MAX,
            destination_port: u16::MAX - 1,
            protocol: IpProtocol(u8::MAX),
        };
        let last = Some(Slot((1 << PARTNER_BITS) - 1));
        for (originator, way, assurance, partner) in [
            (End::Low, Way::Bridge, Assurance::Tentative, last),
            (End::High, Way::Shortcut, Assurance::Assured, Some(Slot(0x0155_5555))),
            (End::High, Way::Shortcut, Assurance::Assured, None),
        ] {
            let record = Record {
                key: Key::of(&tuple).0.asked_by(originator),
                originator,
                decision: Decision {
                    epoch: Epoch(u32::MAX),
                    egress: u32::MAX - 1,
                    ingress: u32::MAX - 2,
                    way,
                    owner: u16::MAX,
                },
                clock: Clock {
                    last_seen: (1 << TICK_WIDTH) - 1,
                    state: FlowState::Tcp(TcpState::Close),
                    assurance,
                },
                opened: (1 << TICK_WIDTH) - 2,
                packets: [PACKETS_MASK, 1],
                bytes: [BYTES_MASK, 2],
                memory: Memory { marks: [u16::MAX, 0x1234], words: [u64::MAX, 3, 4] },
                partner,
            };
            assert_eq!(Record::unpack(&record.pack()), record);
        }
    }
}
