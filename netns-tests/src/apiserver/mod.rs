//! A real API server on a node's loopback, with its etcd: started, asked, cut off, ended.
//!
//! ```text
//! server   the two processes
//! client   what a user does: create, change, delete
//! ```
//!
//! The programs are made ready by `scripts/apiserver`; `KUBEBUILDER_ASSETS`, where it is set, names a
//! directory with others.

mod client;
mod server;

pub use client::{Client, Refusal};
pub use server::ApiServer;
