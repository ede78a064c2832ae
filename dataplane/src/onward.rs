//! Where a forwarded frame goes on to, and what changes in it on the way.

use crate::mac::Mac;
use crate::parse::{self, Body, Rewriting};
use crate::tag::Tag;

/// Where a frame goes on to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Onward {
    /// The tag it leaves with.
    pub tag: Tag,
    /// The destination MAC address it gets, if not the one it has.
    pub readdressed_to: Option<Mac>,
    /// What its ends become, if it is translated.
    pub rewriting: Option<Rewriting>,
}

impl Onward {
    /// To `tag`, otherwise as it is.
    #[inline]
    pub const fn unchanged(tag: Tag) -> Self {
        Self { tag, readdressed_to: None, rewriting: None }
    }

    /// Writes it into the frame that `body` was read from. The trunk's tag, the destination MAC address, and
    /// the ends of a packet of a Service are all that the gateway ever writes.
    #[inline]
    pub(crate) fn write(&self, frame: &mut [u8], body: Option<&Body>) {
        parse::retag(frame, self.tag);
        if let Some(mac) = self.readdressed_to {
            parse::readdress(frame, mac);
        }
        if let (Some(rewriting), Some(Body::Ip(ip))) = (&self.rewriting, body) {
            parse::rewrite(frame, ip, rewriting);
        }
    }
}
