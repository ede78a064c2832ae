//! Namespaces, pods, traffic and faults for the live tests.
//!
//! ```text
//! cases   truth tables of NetworkPolicy, read from `cases/`
//! ```

pub mod cases;
