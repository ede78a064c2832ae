//! Where the objects come from: a directory of ordinary Kubernetes manifests, watched, or a Kubernetes API
//! server.
//!
//! ```text
//! feed       the one or the other
//! status     how it is
//! kubernetes objects from an API server, followed
//! directory  paths to a cluster: everything read, duplicates found
//! files      which files there are, and what they hold
//! cache      what documents have been found to say
//! watch      a new cluster after each change
//! overlay    what is laid over the manifests: addresses, labels, other objects
//! raw        objects as they are written, to be changed and written again
//! list       a cluster as manifests again
//! note       what was read but is not used
//! error      what is wrong, where, and what to do
//! document   a text to documents, and where they stand
//! manifest   a text to objects, document by document
//! items      the items of a List, each as a text of its own
//! trace      where in the texts everything stands
//! tree       one YAML document as values with their lines
//! reader     a walk through a tree that knows its field path and collects what is wrong
//! object     Namespace, Node and Pod from a tree
//! service    Service and EndpointSlice from a tree
//! cluster_ip the addresses of a Service, and their families
//! policy     NetworkPolicy from a tree, judged as the API server does
//! workload   Deployments and their like from a tree
//! made       the pods that they stand for
//! settings   a configuration file: names and values, and where each stands
//! syntax     names, labels, addresses and CIDRs
//! ```

mod cache;
mod cluster_ip;
mod directory;
mod document;
mod error;
mod feed;
mod files;
mod items;
mod kubernetes;
mod list;
mod made;
mod manifest;
mod note;
mod object;
mod overlay;
mod policy;
mod raw;
mod reader;
mod service;
mod settings;
mod status;
mod syntax;
mod trace;
mod tree;
mod watch;
mod workload;

pub use directory::{Background, Directory, Loaded};
pub use error::{Place, Problem, SourceError};
pub use feed::Feed;
pub use kubernetes::{Access, AccessError, Follower, KubernetesOptions, SourceHandle};
pub use list::{list, policy};
pub(crate) use manifest::read_texts;
pub use manifest::{Manifest, Object, Reading, read_manifests};
pub use note::Note;
pub use overlay::{LabelChanges, Overlay, OverlayError};
pub use raw::{RawObject, raw_objects};
pub(crate) use raw::{is_cluster_wide, title};
pub(crate) use reader::is_similar;
pub(crate) use settings::{Form, Setting, settings};
pub use status::{Away, Instead, ObjectTrouble, Saved, SourceKind, SourceStatus, StateOrigin};
pub use syntax::Strictness;
pub use trace::{Origin, SourceText, Traced, Untraced};
pub use watch::{Update, Watch, WatchError};
pub use workload::{Owner, Workload, WorkloadKind, Workloads};
