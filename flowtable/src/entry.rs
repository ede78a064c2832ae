//! One flow in 128 bytes of atomics, guarded by a version word.
//!
//! The version word counts, from the most significant bit: the generation (32 bits, odd while the
//! slot holds a flow), the writes within it (31 bits) and whether one is under way (1 bit). The
//! generation pins the key: the words that name the flow change only while it is even. So a lookup
//! compares the key without waiting for writers, and a packet's update is one compare-exchange,
//! plain loads and stores, and one store that releases (a seqlock whose writers also exclude each
//! other: Boehm, "Can Seqlocks Get Along With Programming Language Memory Models?", 2012).

mod alias;
mod record;

use crate::key::{End, Key};
use crate::sync::{AtomicU64, Backoff, Ordering, fence};
use crate::{Decision, Direction};

pub(crate) use alias::{Alias, Lead};
use record::{
    ALIAS, BYTES, BYTES_MASK, CAUSES, CLOCK, HIGH, LOW, MEMORY, NAME, OPENED_SHIFT, PACKET_BITS, PACKETS,
    PACKETS_MASK, TRANSLATED, WINDOWS, WORDS, decision, marks, opened, originator,
};
pub(crate) use record::{Clock, Memory, Record, Slot};

const BUSY: u64 = 1;
const WRITES_MASK: u64 = (1 << 32) - 1;

/// A slot of the table.
#[derive(Default)]
#[repr(C, align(128))]
pub(crate) struct Entry {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

#[cfg(not(all(test, feature = "interleavings")))]
const _: () = assert!(size_of::<Entry>() == 128);

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
            | (word(LOW) ^ low as u64)
            | (word(LOW + 1) ^ (low >> 64) as u64)
            | (word(HIGH) ^ high as u64)
            | (word(HIGH + 1) ^ (high >> 64) as u64);
        // The key was whole if the slot was not given away meanwhile.
        fence(Ordering::Acquire);
        let unchanged = (self.version.load(Ordering::Relaxed) >> 32) as u32 == generation.0;
        (differences == 0 && unchanged && generation.is_live()).then_some(generation)
    }

    /// Loads both cache lines.
    #[inline]
    pub(crate) fn touch(&self) {
        // Both at once: the first word of each line.
        let version = self.version.load(Ordering::Relaxed);
        std::hint::black_box(version ^ self.words[HIGH].load(Ordering::Relaxed));
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

    /// A consistent copy, with the generation it belongs to; `None` for a free slot, an alias, or a flow
    /// that was written through all of the attempts.
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
                    return (words[NAME] & ALIAS == 0).then(|| (generation, Record::unpack(&words)));
                }
            }
            backoff.snooze();
        }
        None
    }

    /// Whether the slot holds an alias, if it holds anything.
    #[inline]
    pub(crate) fn is_alias(&self) -> bool {
        self.words[NAME].load(Ordering::Relaxed) & ALIAS != 0
    }

    /// The alias in the slot. Nothing in one changes while it is there.
    #[inline]
    pub(crate) fn alias(&self) -> Option<(Generation, Alias)> {
        let generation = self.generation();
        let alias = Alias::unpack(|index| self.words[index].load(Ordering::Relaxed));
        let is_alias = self.is_alias();
        fence(Ordering::Acquire);
        let unchanged = (self.version.load(Ordering::Relaxed) >> 32) as u32 == generation.0;
        (is_alias && unchanged && generation.is_live()).then_some((generation, alias))
    }

    /// Where the alias of that generation leads, for who has its key.
    #[inline]
    pub(crate) fn leads_to(&self, generation: Generation) -> Option<Lead> {
        let lead = Lead::unpack(|index| self.words[index].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let unchanged = (self.version.load(Ordering::Relaxed) >> 32) as u32 == generation.0;
        unchanged.then_some(lead)
    }

    /// Fills a free slot with a flow. The caller holds the bucket's lock, so nobody else fills or frees it.
    pub(crate) fn fill(&self, record: &Record) -> Generation {
        self.fill_words(record.pack())
    }

    /// The same, with an alias.
    pub(crate) fn fill_alias(&self, alias: &Alias) -> Generation {
        self.fill_words(alias.pack())
    }

    fn fill_words(&self, words: [u64; WORDS]) -> Generation {
        let generation = Generation(self.generation().0.wrapping_add(1));
        debug_assert!(generation.is_live());
        // Pairs with the fence of `generation_of`: who reads a new word sees the slot was free.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(words) {
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

    /// [`Decision::port`] alone.
    #[inline]
    pub(crate) fn owner(&self) -> u16 {
        record::owner(self.word(NAME))
    }

    pub(crate) fn set_decision(&self, decision: &Decision) {
        let mut words = std::array::from_fn(|index| self.word(index));
        record::set_decision(&mut words, decision);
        for index in [NAME, CAUSES, CAUSES + 1] {
            self.set_word(index, words[index]);
        }
    }

    #[inline]
    pub(crate) fn memory(&self) -> Memory {
        Memory {
            marks: [marks(self.word(PACKETS)), marks(self.word(PACKETS + 1))],
            words: [self.word(MEMORY), self.word(MEMORY + 1), self.word(WINDOWS)],
        }
    }

    /// Keeps `memory`, which was `before`; most packets change one word of it or none.
    #[inline]
    pub(crate) fn set_memory(&self, before: &Memory, memory: &Memory) {
        for side in 0..2 {
            if memory.marks[side] != before.marks[side] {
                let packets = self.word(PACKETS + side) & PACKETS_MASK;
                self.set_word(PACKETS + side, packets | u64::from(memory.marks[side]) << PACKET_BITS);
            }
        }
        for (index, word) in [MEMORY, MEMORY + 1, WINDOWS].into_iter().enumerate() {
            if memory.words[index] != before.words[index] {
                self.set_word(word, memory.words[index]);
            }
        }
    }

    /// Where the flow's alias is.
    #[inline]
    pub(crate) fn partner(&self) -> Option<Slot> {
        if self.is_translated() { self.recorded_partner() } else { None }
    }

    /// Whether the flow has an alias.
    #[inline]
    pub(crate) fn is_translated(&self) -> bool {
        self.word(NAME) & TRANSLATED != 0
    }

    fn recorded_partner(&self) -> Option<Slot> {
        record::partner(&std::array::from_fn(|index| self.word(index)))
    }

    pub(crate) fn set_partner(&self, partner: Slot) {
        let mut words = std::array::from_fn(|index| self.word(index));
        record::set_partner(&mut words, partner);
        for index in [NAME, CLOCK, BYTES, BYTES + 1] {
            self.set_word(index, words[index]);
        }
    }

    /// Counts one packet.
    #[inline]
    pub(crate) fn count(&self, direction: Direction, len_bytes: u32) {
        let side = direction.index();
        let packets = self.word(PACKETS + side);
        let counted = packets.wrapping_add(1) & PACKETS_MASK;
        self.set_word(PACKETS + side, packets & !PACKETS_MASK | counted);
        let bytes = self.word(BYTES + side);
        let counted = bytes.wrapping_add(u64::from(len_bytes)) & BYTES_MASK;
        self.set_word(BYTES + side, bytes & !BYTES_MASK | counted);
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

#[cfg(test)]
mod tests;
