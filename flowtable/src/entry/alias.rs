//! A slot that is no flow: another name for one.
//!
//! A translated flow is recorded by the addresses that its packets really have. What its originator
//! sends carries another destination; that tuple is the key of an alias, which says where the flow is
//! and what the destination becomes. The flow says in turn which slot its alias is in.
//!
//! | word | holds |
//! |---|---|
//! | 0 .. 2, 7, 8 | the key, as in `record`, and which end is the originator |
//! | 3 | the flow's id |
//! | 9 | the ports that the destination and the source become |
//! | 11, 12 | the destination's address |

use crate::key::{End, Key};
use crate::{Addr, FlowId, Target, Tuple};

use super::record::{self, ALIAS, BYTES, CLOCK, HIGH, LOW, NAME, PACKETS, WORDS};

/// Another name of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Alias {
    pub(crate) key: Key,
    pub(crate) originator: End,
    pub(crate) flow: FlowId,
    /// What the originator's packets are really for.
    pub(crate) becomes: Target,
    /// The port that they are really from.
    pub(crate) source_port: u16,
}

/// What an alias says besides its key.
#[derive(Clone, Copy)]
pub(crate) struct Lead {
    pub(crate) originator: End,
    pub(crate) flow: FlowId,
    /// What the originator's packets are really for.
    pub(crate) becomes: Target,
    /// The port that they are really from.
    pub(crate) source_port: u16,
}

impl Alias {
    pub(super) fn pack(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        record::set_key(&mut words, &self.key, self.originator);
        words[NAME] |= ALIAS;
        words[CLOCK] = self.flow.to_bits();
        words[PACKETS] = u64::from(self.becomes.port) | u64::from(self.source_port) << 16;
        let bits = self.becomes.addr.bits();
        (words[BYTES], words[BYTES + 1]) = (bits as u64, (bits >> 64) as u64);
        words
    }

    #[inline]
    pub(super) fn unpack(words: impl Fn(usize) -> u64) -> Self {
        let ends = words(NAME) & Key::ENDS_MASK;
        let key = Key { low: address(&words, LOW), high: address(&words, HIGH), ends };
        let Lead { originator, flow, becomes, source_port } = Lead::unpack(words);
        Self { key, originator, flow, becomes, source_port }
    }

    /// As the originator's packets come from it.
    #[inline]
    pub(crate) fn calling(&self) -> Tuple {
        self.key.tuple(self.originator)
    }
}

impl Lead {
    #[inline]
    pub(super) fn unpack(words: impl Fn(usize) -> u64) -> Self {
        Self {
            originator: record::originator(words(NAME)),
            flow: FlowId::from_bits(words(CLOCK)),
            becomes: Target { addr: address(&words, BYTES), port: words(PACKETS) as u16 },
            source_port: (words(PACKETS) >> 16) as u16,
        }
    }

    /// The tuple of the flow, which is called by `key`.
    #[inline]
    pub(crate) fn original(&self, key: &Key) -> Tuple {
        let Target { addr: destination, port: destination_port } = self.becomes;
        Tuple { destination, source_port: self.source_port, destination_port, ..key.tuple(self.originator) }
    }
}

#[inline]
fn address(words: &impl Fn(usize) -> u64, at: usize) -> Addr {
    Addr::from_bits(u128::from(words(at)) | u128::from(words(at + 1)) << 64)
}
