//! What can be said of policies without a gateway: on the files that it would read, by the table
//! that it would compile.
//!
//! ```text
//! survey        paths to a cluster, and where everything in it stands
//! judge         the compiled table, asked one connection at a time
//! reach         the same for every port of a pair at once
//! words         selectors, peers and ports in words
//! yaml          rules and policies as YAML
//! report        a finding with the YAML around it, as a compiler prints it
//! explain       why one connection is allowed or denied
//! ```

pub mod explain;
mod judge;
mod survey;
mod words;
mod yaml;

pub use judge::{Ask, Judge, Said, Verdict};
pub use survey::{Spot, Survey};
