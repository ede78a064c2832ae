//! One flow in 128 bytes of atomics, guarded by a version word.
//!
//! The version word counts, from the most significant bit: the generation (32 bits, odd while the
//! slot holds a flow), the writes within it (31 bits) and whether one is under way (1 bit). The
//! generation pins the key: the words that name the flow change only while it is even. So a lookup
//! compares the key without waiting for writers, and a packet's update is one compare-exchange,
//! plain loads and stores, and one store that releases (a seqlock whose writers also exclude each
//! other: Boehm, "Can Seqlocks Get Along With Programming Language Memory Models?", 2012).
//!
//! | word | holds |
//! |---|---|
//! | 0 | ports, protocol and asker 41, originator 1, way 1, first port 16 |
//! | 1..5 | low address, high address |
//! | 5 | clock: last seen 44, state 5, assurance 1, opened (high part) 14 |
//! | 6, 7 | epoch 32, egress 32; ingress 32, opened (low part) 32 |
//! | 8, 9 | packets 48, the tracker's marks 16; original, then reply |
//! | 10, 11 | bytes; original, then reply |
//! | 12..15 | the protocol tracker's memory |

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crossbeam::utils::Backoff;

use crate::key::{End, Key};
use crate::state::{Assurance, CODE_BITS, FlowState};
use crate::timeout::TICK_WIDTH;
use crate::{Addr, Decision, Direction, Epoch, Way};

const WORDS: usize = 15;
const NAME: usize = 0;
const ADDRESSES: usize = 1;
const CLOCK: usize = 5;
const CAUSES: usize = 6;
const PACKETS: usize = 8;
const BYTES: usize = 10;
const MEMORY: usize = 12;

const ORIGINATOR_SHIFT: u32 = Key::ENDS_BITS;
const WAY_SHIFT: u32 = ORIGINATOR_SHIFT + 1;
const PORT_SHIFT: u32 = WAY_SHIFT + 1;
const CODE_SHIFT: u32 = TICK_WIDTH;
const ASSURANCE_SHIFT: u32 = CODE_SHIFT + CODE_BITS;
const OPENED_SHIFT: u32 = ASSURANCE_SHIFT + 1;
const PACKET_BITS: u32 = 48;
const PACKETS_MASK: u64 = (1 << PACKET_BITS) - 1;

const BUSY: u64 = 1;
const WRITES_MASK: u64 = (1 << 32) - 1;

/// A slot of the table.
#[derive(Default)]
#[repr(C, align(128))]
pub(crate) struct Entry {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

const _: () = assert!(size_of::<Entry>() == 128);

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
    fn unpack(word: u64) -> Self {
        let assured = word >> ASSURANCE_SHIFT & 1 == 1;
        Self {
            last_seen: word & ((1 << TICK_WIDTH) - 1),
            state: FlowState::from_code((word >> CODE_SHIFT) as u8 & ((1 << CODE_BITS) - 1)),
            assurance: if assured { Assurance::Assured } else { Assurance::Tentative },
        }
    }

    #[inline]
    fn pack(self) -> u64 {
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
}

impl Record {
    fn pack(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let (low, high) = (self.key.low.bits(), self.key.high.bits());
        words[ADDRESSES..CLOCK].copy_from_slice(&[
            low as u64,
            (low >> 64) as u64,
            high as u64,
            (high >> 64) as u64,
        ]);
        words[NAME] = self.key.ends | u64::from(self.originator == End::High) << ORIGINATOR_SHIFT;
        words[CLOCK] = self.clock.pack() | (self.opened >> 32) << OPENED_SHIFT;
        words[CAUSES + 1] = u64::from(self.opened as u32);
        set_decision(&mut words, &self.decision);
        for side in 0..2 {
            words[PACKETS + side] = self.packets[side] & PACKETS_MASK;
            words[BYTES + side] = self.bytes[side];
        }
        set_memory(&mut words, &self.memory);
        words
    }

    fn unpack(words: &[u64; WORDS]) -> Self {
        let address = |at: usize| Addr::from_bits(u128::from(words[at]) | u128::from(words[at + 1]) << 64);
        Self {
            key: Key {
                low: address(ADDRESSES),
                high: address(ADDRESSES + 2),
                ends: words[NAME] & Key::ENDS_MASK,
            },
            originator: originator(words[NAME]),
            decision: decision(words[NAME], words[CAUSES], words[CAUSES + 1]),
            clock: Clock::unpack(words[CLOCK]),
            opened: opened(words[CLOCK], words[CAUSES + 1]),
            packets: [words[PACKETS] & PACKETS_MASK, words[PACKETS + 1] & PACKETS_MASK],
            bytes: [words[BYTES], words[BYTES + 1]],
            memory: Memory {
                marks: [marks(words[PACKETS]), marks(words[PACKETS + 1])],
                words: [words[MEMORY], words[MEMORY + 1], words[MEMORY + 2]],
            },
        }
    }
}

#[inline]
fn originator(name: u64) -> End {
    if name >> ORIGINATOR_SHIFT & 1 == 0 { End::Low } else { End::High }
}

#[inline]
fn decision(name: u64, first: u64, second: u64) -> Decision {
    Decision {
        epoch: Epoch((first >> 32) as u32),
        egress: first as u32,
        ingress: (second >> 32) as u32,
        way: if name >> WAY_SHIFT & 1 == 0 { Way::Shortcut } else { Way::Bridge },
        port: (name >> PORT_SHIFT) as u16,
    }
}

fn set_decision(words: &mut [u64; WORDS], decision: &Decision) {
    let name_mask = (1 << WAY_SHIFT) - 1;
    words[NAME] = words[NAME] & name_mask
        | u64::from(decision.way == Way::Bridge) << WAY_SHIFT
        | u64::from(decision.port) << PORT_SHIFT;
    words[CAUSES] = u64::from(decision.epoch.0) << 32 | u64::from(decision.egress);
    words[CAUSES + 1] = u64::from(words[CAUSES + 1] as u32) | u64::from(decision.ingress) << 32;
}

fn set_memory(words: &mut [u64; WORDS], memory: &Memory) {
    for side in 0..2 {
        words[PACKETS + side] =
            words[PACKETS + side] & PACKETS_MASK | u64::from(memory.marks[side]) << PACKET_BITS;
    }
    words[MEMORY..].copy_from_slice(&memory.words);
}

#[inline]
fn opened(clock: u64, second: u64) -> u64 {
    (clock >> OPENED_SHIFT) << 32 | u64::from(second as u32)
}

#[inline]
fn marks(packets: u64) -> u16 {
    (packets >> PACKET_BITS) as u16
}

impl Entry {
    /// The slot's generation now.
    #[inline]
    pub(crate) fn generation(&self) -> Generation {
        Generation((self.version.load(Ordering::Acquire) >> 32) as u32)
    }

    /// The generation whose key is `key`, if the slot holds that flow.
    #[inline]
    pub(crate) fn generation_of(&self, key: &Key) -> Option<Generation> {
        let generation = self.generation();
        let word = |index: usize| self.words[index].load(Ordering::Relaxed);
        let (low, high) = (key.low.bits(), key.high.bits());
        let differences = (word(NAME) & Key::ENDS_MASK ^ key.ends)
            | (word(ADDRESSES) ^ low as u64)
            | (word(ADDRESSES + 1) ^ (low >> 64) as u64)
            | (word(ADDRESSES + 2) ^ high as u64)
            | (word(ADDRESSES + 3) ^ (high >> 64) as u64);
        // The key was whole if the slot was not given away meanwhile.
        fence(Ordering::Acquire);
        let unchanged = (self.version.load(Ordering::Relaxed) >> 32) as u32 == generation.0;
        (differences == 0 && unchanged && generation.is_live()).then_some(generation)
    }

    /// The flow's clock, perhaps a moment old: enough to pass over a flow, not to end it.
    #[inline]
    pub(crate) fn clock(&self) -> Clock {
        Clock::unpack(self.words[CLOCK].load(Ordering::Relaxed))
    }

    /// Excludes other writers of this flow; `None` if the slot is no longer in `generation`.
    #[inline]
    pub(crate) fn lock(&self, generation: Generation) -> Option<Locked<'_>> {
        let backoff = Backoff::new();
        let mut version = self.version.load(Ordering::Relaxed);
        loop {
            if (version >> 32) as u32 != generation.0 {
                return None;
            }
            if version & BUSY == 0 {
                match self.version.compare_exchange_weak(
                    version,
                    version | BUSY,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        // No store below may be seen before the busy bit.
                        fence(Ordering::Release);
                        let writes = version.wrapping_add(2) & WRITES_MASK;
                        return Some(Locked {
                            entry: self,
                            next_version: u64::from(generation.0) << 32 | writes,
                        });
                    }
                    Err(newer) => version = newer,
                }
            } else {
                backoff.snooze();
                version = self.version.load(Ordering::Relaxed);
            }
        }
    }

    /// A consistent copy, with the generation it belongs to; `None` for a free slot, or one that was
    /// written through all of the attempts.
    pub(crate) fn snapshot(&self) -> Option<(Generation, Record)> {
        const ATTEMPTS: u32 = 1000;
        let backoff = Backoff::new();
        for _ in 0..ATTEMPTS {
            let version = self.version.load(Ordering::Acquire);
            let generation = Generation((version >> 32) as u32);
            if !generation.is_live() {
                return None;
            }
            if version & BUSY == 0 {
                let words = std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed));
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == version {
                    return Some((generation, Record::unpack(&words)));
                }
            }
            backoff.snooze();
        }
        None
    }

    /// Fills a free slot. The caller holds the bucket's lock, so nobody else fills or frees it.
    pub(crate) fn fill(&self, record: &Record) -> Generation {
        let generation = Generation(self.generation().0.wrapping_add(1));
        debug_assert!(generation.is_live());
        // Pairs with the fence of `generation_of`: who reads a new word sees the slot was free.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(record.pack()) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(u64::from(generation.0) << 32, Ordering::Release);
        generation
    }
}

/// Counts the flows that a slot has held; a stale id has an old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Generation(pub(crate) u32);

impl Generation {
    /// Whether the slot holds a flow.
    #[inline]
    pub(crate) const fn is_live(self) -> bool {
        self.0 & 1 == 1
    }
}

/// The right to change one flow.
pub(crate) struct Locked<'a> {
    entry: &'a Entry,
    next_version: u64,
}

impl Locked<'_> {
    #[inline]
    fn word(&self, index: usize) -> u64 {
        self.entry.words[index].load(Ordering::Relaxed)
    }

    #[inline]
    fn set_word(&self, index: usize, value: u64) {
        self.entry.words[index].store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn clock(&self) -> Clock {
        self.entry.clock()
    }

    #[inline]
    pub(crate) fn set_clock(&self, clock: Clock) {
        let opened = self.word(CLOCK) >> OPENED_SHIFT << OPENED_SHIFT;
        self.set_word(CLOCK, clock.pack() | opened);
    }

    /// Tick.
    #[inline]
    pub(crate) fn opened(&self) -> u64 {
        opened(self.word(CLOCK), self.word(CAUSES + 1))
    }

    #[inline]
    pub(crate) fn originator(&self) -> End {
        originator(self.word(NAME))
    }

    #[inline]
    pub(crate) fn decision(&self) -> Decision {
        decision(self.word(NAME), self.word(CAUSES), self.word(CAUSES + 1))
    }

    pub(crate) fn set_decision(&self, decision: &Decision) {
        let mut words = std::array::from_fn(|index| self.word(index));
        set_decision(&mut words, decision);
        for index in [NAME, CAUSES, CAUSES + 1] {
            self.set_word(index, words[index]);
        }
    }

    #[inline]
    pub(crate) fn memory(&self) -> Memory {
        Memory {
            marks: [marks(self.word(PACKETS)), marks(self.word(PACKETS + 1))],
            words: [self.word(MEMORY), self.word(MEMORY + 1), self.word(MEMORY + 2)],
        }
    }

    #[inline]
    pub(crate) fn set_memory(&self, memory: &Memory) {
        for side in 0..2 {
            let packets = self.word(PACKETS + side) & PACKETS_MASK;
            self.set_word(PACKETS + side, packets | u64::from(memory.marks[side]) << PACKET_BITS);
        }
        for (index, &word) in memory.words.iter().enumerate() {
            self.set_word(MEMORY + index, word);
        }
    }

    /// Counts one packet.
    #[inline]
    pub(crate) fn count(&self, direction: Direction, len_bytes: u32) {
        let side = direction.index();
        let packets = self.word(PACKETS + side);
        let counted = packets.wrapping_add(1) & PACKETS_MASK;
        self.set_word(PACKETS + side, packets & !PACKETS_MASK | counted);
        let bytes = self.word(BYTES + side).wrapping_add(u64::from(len_bytes));
        self.set_word(BYTES + side, bytes);
    }

    /// Frees the slot. The caller holds the bucket's lock and takes the tag away.
    pub(crate) fn retire(mut self) {
        self.next_version = ((self.next_version >> 32) + 1) << 32;
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        self.entry.version.store(self.next_version, Ordering::Release);
    }
}
