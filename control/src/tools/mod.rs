//! What can be said of policies: on the files that a gateway would read or the objects that one has
//! in force, by the table that it would compile.
//!
//! ```text
//! survey        paths to a cluster, and where everything in it stands
//! asked         what is in force at a running gateway
//! judge         the compiled table, asked one connection at a time
//! reach         the same for every port of a pair at once
//! words         selectors, peers and ports in words
//! yaml          rules and policies as YAML
//! report        a finding with the YAML around it, as a compiler prints it
//! explain       why one connection is allowed or denied
//! party         who takes part: pods, one by one or by workload
//! outside       the world outside, as far as ipBlocks tell it apart
//! connectivity  who can reach whom
//! check         what is probably not meant as it is written
//! diff          which connections a change allows or denies
//! ```

mod asked;
pub mod check;
pub mod connectivity;
pub mod diff;
pub mod explain;
mod judge;
mod outside;
mod party;
mod reach;
mod report;
mod survey;
mod words;
mod yaml;

pub use judge::{Ask, Judge, Said, Verdict};
pub use party::{Grouping, Party};
pub use reach::{Reach, Reacher};
pub use report::{Look, mistake};
pub use survey::{AskedGateway, Spot, Survey};
