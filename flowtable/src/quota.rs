//! How many flows each owner may have, so that one pod cannot starve the others.
//!
//! The owner is the opaque [`Decision::owner`](crate::Decision::owner). A flow counts for it from when it
//! opens until it is over, or has ended in whichever way, or policy has cut it; a flow that has expired,
//! but was not collected yet, still counts. Known packets touch the count only when they take a flow into
//! or out of its opening, or end it.

use crate::FlowState;
use crate::sync::{AtomicU64, Ordering};

/// An owner with this bit is counted, but not limited.
pub const UNLIMITED: u16 = 1 << 15;

/// The most flows that one owner may have at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Flows that are not over.
    pub flows: u32,
    /// Of these, flows that are not answered or whose handshake is not over.
    pub half_open: u32,
}

/// The flows that one owner has now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Flows that are not over.
    pub flows: u32,
    /// Of these, flows that are not answered or whose handshake is not over.
    pub half_open: u32,
}

/// Which part of its owner's [`Quota`] a flow would exceed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Exceeded {
    /// [`Quota::flows`].
    Flows,
    /// [`Quota::half_open`].
    HalfOpen,
}

/// Every owner that a `u16` can name; a few where tests make a table for each of many orders.
const OWNERS: usize = if cfg!(all(test, feature = "interleavings")) { 64 } else { 1 << 16 };

/// One in the upper half of an owner's word, which counts flows.
const FLOW: u64 = 1 << 32;

/// What each owner has; nothing is counted without a quota.
#[derive(Default)]
pub(crate) struct Quotas(Option<Limited>);

struct Limited {
    quota: Quota,
    /// Flows in the upper half, half-open ones in the lower: charged together or not at all.
    owners: Box<[AtomicU64]>,
}

impl Quotas {
    pub(crate) fn new(quota: Quota) -> Self {
        Self(Some(Limited { quota, owners: (0..OWNERS).map(|_| AtomicU64::default()).collect() }))
    }

    /// Counts a flow in `state` for its owner, unless that exceeds the quota.
    #[inline]
    pub(crate) fn charge(&self, owner: u16, state: FlowState) -> Result<(), Exceeded> {
        let Some(limited) = &self.0 else { return Ok(()) };
        let mut exceeded = Exceeded::Flows;
        let admit = |word: u64| {
            let usage = Usage::unpack(word);
            if owner & UNLIMITED != 0 {
                return Some(word + weight(state));
            }
            if usage.flows >= limited.quota.flows {
                exceeded = Exceeded::Flows;
                return None;
            }
            if state.is_half_open() && usage.half_open >= limited.quota.half_open {
                exceeded = Exceeded::HalfOpen;
                return None;
            }
            Some(word + weight(state))
        };
        let charged = limited.owner(owner).fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit);
        charged.map(drop).map_err(|_| exceeded)
    }

    /// Counts a flow in `state` for its owner, whatever the quota: the flow is there.
    pub(crate) fn adopt(&self, owner: u16, state: FlowState) {
        if let Some(limited) = &self.0 {
            limited.owner(owner).fetch_add(weight(state), Ordering::Relaxed);
        }
    }

    /// Counts a flow in `state` no longer. Whoever ends a flow calls this once, while it is locked.
    #[inline]
    pub(crate) fn release(&self, owner: u16, state: FlowState) {
        if let Some(limited) = &self.0 {
            limited.owner(owner).fetch_sub(weight(state), Ordering::Relaxed);
        }
    }

    /// Follows a locked flow from one state to another, whatever the quota: the flow is there.
    #[inline]
    pub(crate) fn follow(&self, owner: u16, from: FlowState, to: FlowState) {
        let Some(limited) = &self.0 else { return };
        let (from, to) = (weight(from), weight(to));
        if from != to {
            // Less is more by what is missing to the modulus.
            limited.owner(owner).fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
        }
    }

    /// Gives a locked flow in `state` to another owner, whatever that one's quota.
    pub(crate) fn hand_over(&self, from: u16, to: u16, state: FlowState) {
        if from != to {
            self.adopt(to, state);
            self.release(from, state);
        }
    }

    pub(crate) fn usage(&self, owner: u16) -> Usage {
        let word = self.0.as_ref().map(|limited| limited.owner(owner).load(Ordering::Relaxed));
        word.map(Usage::unpack).unwrap_or_default()
    }
}

impl Limited {
    #[inline]
    fn owner(&self, owner: u16) -> &AtomicU64 {
        &self.owners[usize::from(owner) % OWNERS]
    }
}

impl Usage {
    #[inline]
    fn unpack(word: u64) -> Self {
        Self { flows: (word >> 32) as u32, half_open: word as u32 }
    }
}

/// What a flow in `state` adds to its owner's word.
#[inline]
const fn weight(state: FlowState) -> u64 {
    match state {
        // Remembered for stragglers only, and the first to make way.
        state if state.is_finished() => 0,
        state => FLOW + state.is_half_open() as u64,
    }
}
