//! Services: which address and port stand for others, and which of those a connection goes to.
//!
//! ```text
//! table     addresses of Services to their ports
//! maglev    a table that spreads connections over backends and hardly changes with them
//! affinity  clients that keep their backend
//! ```
//!
//! Looked up where a connection opens, never for a packet of one: the flow table keeps what was chosen.

mod affinity;
mod maglev;
mod table;

pub use affinity::{Affinities, AffinityKey};
pub use maglev::Maglev;
pub use table::{Found, ServiceKey, ServicePort, Services};
