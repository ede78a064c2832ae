//! Services: which backends a port of one leads to.
//!
//! ```text
//! backends  the endpoints behind one port, listed or derived from the selector
//! translate Services as the dataplane looks them up
//! address   the Service that an address belongs to
//! ```

mod address;
mod backends;
mod translate;

pub use address::service_at;
pub use backends::{Backend, backends};
pub use translate::{ServiceNote, Translator};
