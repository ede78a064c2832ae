//! Services: which backends a port of one leads to.
//!
//! ```text
//! backends  the endpoints behind one port, listed or derived from the selector
//! address   the Service that an address belongs to
//! ```

mod address;
mod backends;

pub use address::service_at;
pub use backends::{Backend, backends};
