//! What `deploy/` holds: rendered as users render it, judged by Kubernetes' own types, and understood by the
//! program that it starts.

mod chart;
mod manifests;
mod objects;
mod program;
