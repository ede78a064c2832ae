//! The compiled form of all policy, and its lookup. Immutable; made by `podgate-control`.
//!
//! ```text
//! cause      why a side allowed or denied
//! ranges     allowed ports of one (source identity, destination identity) pair
//! lists      all of these together
//! table      the pair matrix
//! half       one direction of it
//! prefix     addresses outside to identities
//! endpoint   addresses of pods and nodes to identities
//! addresses  those of one family
//! handover   addresses that have passed from one pod to another
//! hasher     a keyed hash of addresses
//! ```

mod addresses;
mod cause;
mod endpoint;
mod half;
mod handover;
mod hasher;
mod lists;
mod prefix;
mod ranges;
mod table;

pub use cause::{Cause, RuleId};
pub use endpoint::{Endpoint, EndpointId, EndpointKind, EndpointMap};
pub use half::{CELLS_IN_CHUNK, CellChunk, Half, Row, TableError};
pub use handover::Handovers;
pub use hasher::AddrHasher;
pub use lists::{ListId, RangeLists};
pub use prefix::{OverlappingSpans, PrefixMap, Span};
pub use ranges::{PortRange, RangeList};
pub use table::{PolicyTable, PolicyVerdict};
