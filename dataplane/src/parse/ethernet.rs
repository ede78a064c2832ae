//! The Ethernet header as it is on the trunk: the gateway's own 802.1Q tag always stands in it.

use podgate_flowtable::Addr;

use crate::mac::Mac;
use crate::tag::Tag;
use crate::verdict::DropReason;

/// Destination, source, the tag's two fields, ethertype.
pub const TRUNK_HEADER_LEN_BYTES: usize = 18;

/// Of the tag that the steering put on (IEEE 802.1Q, 9.6).
const TAG_PROTOCOL: [u8; 2] = [0x81, 0x00];

/// What follows the tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ethertype {
    Arp,
    Ipv4,
    Ipv6,
}

/// The Ethernet header of a frame on the trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrunkHeader {
    /// Destination MAC address.
    pub destination: Mac,
    /// Source MAC address.
    pub source: Mac,
    /// Where the frame was taken up.
    pub tag: Tag,
    ethertype: u16,
}

impl TrunkHeader {
    /// The header, and what follows it.
    #[inline]
    pub fn split(frame: &[u8]) -> Result<(Self, &[u8]), DropReason> {
        let Some((header, rest)) = frame.split_first_chunk::<TRUNK_HEADER_LEN_BYTES>() else {
            return Err(DropReason::Truncated);
        };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, p0, p1, t0, t1, e0, e1] = *header;
        if [p0, p1] != TAG_PROTOCOL {
            return Err(DropReason::NoTag);
        }
        let Some(tag) = Tag::from_tci(u16::from_be_bytes([t0, t1])) else {
            return Err(DropReason::NoTag);
        };
        let header = Self {
            destination: Mac([d0, d1, d2, d3, d4, d5]),
            source: Mac([s0, s1, s2, s3, s4, s5]),
            tag,
            ethertype: u16::from_be_bytes([e0, e1]),
        };
        Ok((header, rest))
    }

    #[inline]
    pub(super) fn ethertype(&self) -> Result<Ethertype, DropReason> {
        match self.ethertype {
            0x0800 => Ok(Ethertype::Ipv4),
            0x86dd => Ok(Ethertype::Ipv6),
            0x0806 => Ok(Ethertype::Arp),
            // 802.1Q, 802.1ad, and the value QinQ used before there was a standard.
            0x8100 | 0x88a8 | 0x9100 => Err(DropReason::VlanTagged),
            // A value below 0x0600 is a length and LLC follows (IEEE 802.3, 3.2.6).
            _ => Err(DropReason::UnknownEthertype),
        }
    }
}

/// Writes `tag` into a frame of the trunk. A frame too short for a tag is left as it is.
#[inline]
pub fn retag(frame: &mut [u8], tag: Tag) {
    if let Some(header) = frame.first_chunk_mut::<TRUNK_HEADER_LEN_BYTES>() {
        [header[14], header[15]] = tag.tci().to_be_bytes();
    }
}

/// Writes the destination MAC address into a frame of the trunk.
#[inline]
pub fn readdress(frame: &mut [u8], destination: Mac) {
    if let Some(bytes) = frame.first_chunk_mut::<6>() {
        *bytes = destination.0;
    }
}

impl Mac {
    /// The link-local address that autoconfiguration forms from this MAC address (RFC 4862, 5.3;
    /// RFC 2464, 4: the modified EUI-64).
    #[inline]
    pub const fn link_local(self) -> Addr {
        let [m0, m1, m2, m3, m4, m5] = self.0;
        Addr::from_v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, m0 ^ 2, m1, m2, 0xff, 0xfe, m3, m4, m5])
    }

    /// The MAC address that [`Mac::link_local`] made `addr` from, if it has that form.
    pub const fn of_link_local(addr: Addr) -> Option<Self> {
        let [0xfe, 0x80, 0, 0, 0, 0, 0, 0, m0, m1, m2, 0xff, 0xfe, m3, m4, m5] = addr.bits().to_be_bytes()
        else {
            return None;
        };
        Some(Self([m0 ^ 2, m1, m2, m3, m4, m5]))
    }
}
