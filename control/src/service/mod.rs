//! Services: which backends a port of one leads to.
//!
//! ```text
//! backends  the endpoints behind one port, listed or derived from the selector
//! endpoints the endpoints of a Service whatever their ports, and what they are called
//! translate Services as the dataplane looks them up
//! address   the Service that an address belongs to
//! mode      who translates
//! follow    what has changed of a sorted map
//! ```

mod address;
mod backends;
mod endpoints;
mod follow;
mod mode;
mod translate;

pub use address::service_at;
pub use backends::{Backend, backends};
pub use endpoints::{Endpoint, endpoints};
pub use mode::ServiceMode;
pub use translate::{ServiceNote, Translator};
