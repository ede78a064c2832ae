//! Objects from a Kubernetes API server, followed as they change.
//!
//! ```text
//! options   what it is told
//! follow    the thread that reads, keeps and passes on; what others hold of it
//! access    the client: who we are, where the server is
//! contact   what comes from the server, noticed as it comes
//! reading   one kind of objects: listed, watched, tried again
//! backoff   how long until it is tried again
//! kind      the kinds that are read
//! received  an object as it comes
//! judge     what it says, or what is done without it
//! endpoints core/v1 Endpoints as slices, for servers without discovery.k8s.io/v1
//! store     what there is, kind by kind, and the cluster made of it
//! saved     the last good state on disk
//! health    how all that is
//! events    policies that cannot be applied, told to their authors
//! ```
//!
//! Nothing is passed on before every kind has been listed, so that no half of a state is ever used.
//! From then on what was read last is what there is, for as long as the server is away.

mod access;
mod backoff;
mod contact;
mod endpoints;
mod events;
mod follow;
mod health;
mod judge;
mod kind;
mod options;
mod reading;
mod received;
#[cfg(test)]
mod rights;
mod saved;
mod store;

pub use access::AccessError;
pub use follow::Follower;
pub use health::SourceHandle;
pub use options::{Access, KubernetesOptions};
