//! Where the objects come from: a directory of ordinary Kubernetes manifests, watched.
//!
//! ```text
//! directory  paths to a cluster: everything read, duplicates found
//! files      which files there are, and what they hold
//! cache      what documents have been found to say
//! watch      a new cluster after each change
//! overlay    addresses for pods whose manifest has none
//! note       what was read but is not used
//! error      what is wrong, where, and what to do
//! document   a text to documents, and where they stand
//! manifest   a text to objects, document by document
//! list       the items of a List, each as a text of its own
//! trace      where in the texts everything stands
//! tree       one YAML document as values with their lines
//! reader     a walk through a tree that knows its field path and collects what is wrong
//! object     Namespace, Node and Pod from a tree
//! service    Service and EndpointSlice from a tree
//! policy     NetworkPolicy from a tree, judged as the API server does
//! syntax     names, labels, addresses and CIDRs
//! ```

mod cache;
mod directory;
mod document;
mod error;
mod files;
mod list;
mod manifest;
mod note;
mod object;
mod overlay;
mod policy;
mod reader;
mod service;
mod syntax;
mod trace;
mod tree;
mod watch;

pub use directory::{Directory, Loaded};
pub use error::{Place, Problem, SourceError};
pub use manifest::{Manifest, Object, Reading, read_manifests};
pub use note::Note;
pub use overlay::Overlay;
pub use syntax::Strictness;
pub use trace::{Origin, Owner, SourceText, Traced, Untraced};
pub use watch::{Update, Watch, WatchError};
