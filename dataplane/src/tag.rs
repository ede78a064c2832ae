//! The tag a frame carries on the trunk: which port, and which way.
//!
//! On the wire of the trunk it is the tag control information of an 802.1Q header: bits 0..=10
//! the port, bit 11 the direction; `bpf/steer.h` holds the same layout.

use std::fmt;

use podgate_flowtable::UNLIMITED;

/// Ports a gateway can guard at once, port 0 (never given out) included.
pub const MAX_PORTS: usize = 2048;

/// The small number of a guarded device, `1..MAX_PORTS`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(u16);

impl PortId {
    /// Port number `number`, if it is one a gateway can have.
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 1 && (number as usize) < MAX_PORTS { Some(Self(number)) } else { None }
    }

    /// As an index below [`MAX_PORTS`].
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The number.
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// Which way a frame passes its port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Passage {
    /// The pod sent it.
    FromPod,
    /// It is on its way into the pod.
    ToPod,
}

/// A port and a passage: where a frame was taken up, or where it is to be put down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    /// The guarded device.
    pub port: PortId,
    /// Which way.
    pub passage: Passage,
}

impl Tag {
    const PORT_MASK: u16 = 0x07ff;
    const TO_POD: u16 = 0x0800;

    /// The frame was sent by, or goes on as if sent by, the pod at `port`.
    #[inline]
    pub const fn from_pod(port: PortId) -> Self {
        Self { port, passage: Passage::FromPod }
    }

    /// The frame goes into the pod at `port`.
    #[inline]
    pub const fn to_pod(port: PortId) -> Self {
        Self { port, passage: Passage::ToPod }
    }

    /// From the tag control information on the trunk.
    #[inline]
    pub const fn from_tci(tci: u16) -> Option<Self> {
        let Some(port) = PortId::new(tci & Self::PORT_MASK) else { return None };
        match tci & !Self::PORT_MASK {
            0 => Some(Self::from_pod(port)),
            Self::TO_POD => Some(Self::to_pod(port)),
            _ => None,
        }
    }

    /// As the owner of what was first seen here.
    #[inline]
    pub const fn owner(self) -> u16 {
        self.tci()
    }

    /// Of [`Tag::owner`], limited or not.
    #[inline]
    pub const fn of_owner(owner: u16) -> Option<Self> {
        Self::from_tci(owner & !UNLIMITED)
    }

    /// As tag control information on the trunk.
    #[inline]
    pub const fn tci(self) -> u16 {
        match self.passage {
            Passage::FromPod => self.port.0,
            Passage::ToPod => self.port.0 | Self::TO_POD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tci_is_a_tag_and_back_or_is_refused() {
        let mut tags = 0;
        for tci in 0..=u16::MAX {
            if let Some(tag) = Tag::from_tci(tci) {
                assert_eq!(tag.tci(), tci);
                tags += 1;
            }
        }
        assert_eq!(tags, 2 * (MAX_PORTS - 1));
    }
}
