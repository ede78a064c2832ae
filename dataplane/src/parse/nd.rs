//! Neighbour discovery (RFC 4861) and multicast listener discovery (RFC 2710, RFC 3810).

use podgate_flowtable::Addr;

use super::{Network, Payload, ipv6, is_group};
use crate::mac::Mac;
use crate::verdict::DropReason;

/// A neighbour discovery message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// What it says.
    pub message: NeighbourMessage,
    /// The link-layer address it gives for its source or target. Not read in router advertisements
    /// and redirects, which a pod may not send at all.
    pub link_address: Option<Mac>,
}

/// The kinds of message (RFC 4861, 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NeighbourMessage {
    /// Are there routers?
    RouterSolicitation,
    /// I am a router.
    RouterAdvertisement,
    /// Who has `target`?
    Solicitation {
        /// The address asked for.
        target: Addr,
    },
    /// I have `target`.
    Advertisement {
        /// The address claimed.
        target: Addr,
    },
    /// Use another next hop.
    Redirect,
}

impl NeighbourMessage {
    /// The ICMPv6 type.
    pub const fn icmp_type(self) -> u8 {
        match self {
            Self::RouterSolicitation => 133,
            Self::RouterAdvertisement => 134,
            Self::Solicitation { .. } => 135,
            Self::Advertisement { .. } => 136,
            Self::Redirect => 137,
        }
    }
}

/// A multicast listener discovery message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mld {
    /// A router asks who listens.
    Query,
    /// A listener reports, in any version, or leaves.
    Report {
        /// The ICMPv6 type.
        icmp_type: u8,
    },
}

impl Mld {
    const QUERY: u8 = 130;

    /// The ICMPv6 type.
    pub const fn icmp_type(self) -> u8 {
        match self {
            Self::Query => Self::QUERY,
            Self::Report { icmp_type } => icmp_type,
        }
    }
}

/// Checks what receivers must check (RFC 4861, 6.1 and 7.1), the checksum excepted.
pub(super) fn parse(network: &Network, payload: &[u8]) -> Result<Payload, DropReason> {
    /// Never forwarded, or it would be less.
    const HOP_LIMIT: u8 = 255;
    // RFC 6980, 5.
    if network.is_fragment {
        return Err(DropReason::BadFragment);
    }
    let Some((&[icmp_type, code, ..], body)) = payload.split_first_chunk::<8>() else {
        return Err(DropReason::Truncated);
    };
    if network.hop_limit != HOP_LIMIT || code != 0 {
        return Err(DropReason::BadTransport);
    }
    let (message, options) = match icmp_type {
        133 => (NeighbourMessage::RouterSolicitation, body),
        135 => {
            let (target, options) = split_target(body)?;
            (NeighbourMessage::Solicitation { target }, options)
        }
        136 => {
            let (target, options) = split_target(body)?;
            (NeighbourMessage::Advertisement { target }, options)
        }
        router => {
            let (message, min_len_bytes) = match router {
                134 => (NeighbourMessage::RouterAdvertisement, 8),
                _ => (NeighbourMessage::Redirect, 32),
            };
            if body.len() < min_len_bytes {
                return Err(DropReason::Truncated);
            }
            if !super::is_link_local(network.source) {
                return Err(DropReason::BadTransport);
            }
            (message, &[][..])
        }
    };
    Ok(Payload::Neighbour(Neighbour { message, link_address: link_address(options)? }))
}

pub(super) fn parse_mld(network: &Network, payload: &[u8]) -> Result<Payload, DropReason> {
    /// Of version 1; those of version 2 are no shorter (a report without records is of no use).
    const MIN_LEN_BYTES: usize = 8;
    if payload.len() < MIN_LEN_BYTES {
        return Err(network.cut());
    }
    Ok(Payload::Mld(match payload[0] {
        Mld::QUERY => Mld::Query,
        icmp_type => Mld::Report { icmp_type },
    }))
}

fn split_target(body: &[u8]) -> Result<(Addr, &[u8]), DropReason> {
    let Some((target, options)) = body.split_first_chunk::<16>() else {
        return Err(DropReason::Truncated);
    };
    // A v4-mapped target would be taken for an IPv4 address.
    let addr = Addr::from_v6(*target);
    if ipv6::embeds_v4(target) || is_group(addr) {
        return Err(DropReason::BadTransport);
    }
    Ok((addr, options))
}

/// The source or target link-layer address among the options (RFC 4861, 4.6). Two that differ are
/// refused: which one a receiver believes is its own affair.
fn link_address(mut options: &[u8]) -> Result<Option<Mac>, DropReason> {
    const MAX_OPTIONS: usize = 16;
    const SOURCE_OR_TARGET: [u8; 2] = [1, 2];
    let mut found = None;
    for _ in 0..MAX_OPTIONS {
        let [kind, units, ..] = *options else {
            return if options.is_empty() { Ok(found) } else { Err(DropReason::BadTransport) };
        };
        let len_bytes = usize::from(units) * 8;
        if len_bytes == 0 || len_bytes > options.len() {
            return Err(DropReason::BadTransport);
        }
        let (option, rest) = options.split_at(len_bytes);
        if SOURCE_OR_TARGET.contains(&kind) {
            let &[_, _, m0, m1, m2, m3, m4, m5] = option else {
                return Err(DropReason::BadTransport);
            };
            let mac = Mac([m0, m1, m2, m3, m4, m5]);
            if found.is_some_and(|earlier| earlier != mac) {
                return Err(DropReason::BadTransport);
            }
            found = Some(mac);
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(DropReason::BadTransport) }
}
