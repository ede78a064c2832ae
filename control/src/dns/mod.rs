//! The names of Services and pods, as the Kubernetes DNS specification gives them
//! (github.com/kubernetes/dns, docs/specification.md).
//!
//! Pure: what is asked goes in as bytes and what is answered comes out as bytes. The sockets are the
//! lab's (`lab::nameserver`).
//!
//! ```text
//! zone     which names there are, and the records at each
//! records  the records of a cluster and of the hosts outside
//! reply    a request to its response: codes, truncation, EDNS
//! ```

mod records;
mod reply;
#[cfg(test)]
mod tests;
mod zone;

pub use records::Outside;
pub use reply::{Transport, reply};
pub use zone::Zone;
