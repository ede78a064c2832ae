//! What happens to a frame.
//!
//! ```text
//! tag        port and passage, as the trunk carries them
//! mac        Ethernet addresses
//! parse/     from bytes to what they say, bounded
//! policy/    the compiled policy and its lookup
//! snapshot   everything a worker decides by, as of one moment
//! verdict    forward or drop, and why
//! ```

pub mod mac;
pub mod parse;
pub mod policy;
pub mod snapshot;
pub mod tag;
pub mod verdict;
