//! The compiled form of all policy, and its lookup. Immutable; made by `podgate-control`.
//!
//! ```text
//! cause     why a side allowed or denied
//! ranges    allowed ports of one (source identity, destination identity) pair
//! table     the pair matrix
//! prefix    addresses outside to identities
//! endpoint  addresses of pods and nodes to identities
//! handover  addresses that have passed from one pod to another
//! ```

mod cause;
mod endpoint;
mod handover;
mod prefix;
mod ranges;
mod table;

pub use cause::{Cause, RuleId};
pub use endpoint::{AddrHasher, Endpoint, EndpointId, EndpointKind, EndpointMap};
pub use handover::Handovers;
pub use prefix::{OverlappingSpans, PrefixMap, Span};
pub use ranges::{PortRange, RangeList};
pub use table::{Half, ListId, PolicyTable, PolicyVerdict, Row, TableError};
