//! Figures: what the gateway costs.
//!
//! ```text
//! benches/       criterion, in memory, one question each:
//!                step, lookup, compile, flow_table, services
//! bin/floor      the same trunk, rings and workers, but frames are only retagged
//! bin/figures    plain bridge, floor and gateway in turn: packets, TCP, round trips
//!
//! bin/enforced      how soon an edited policy is obeyed
//! bin/api_enforced  the same through a real API server, and for pods that are relabelled
//! bin/api_scale     a large cluster in a real API server: memory, idle CPU, restart without the server
//! bin/api_away      the API server is away for long
//! bin/starts        how long the CNI plugin keeps a pod that starts, and what passes meanwhile
//!
//! cluster   clusters of any size, and what they compile to
//! frames    frames between two pods of them, one flow after another
//! flows     flows of many clients, and what a table of them can be asked to do
//! map       a general concurrent map that does the same
//! obeyed    from a change to the first datagram that was treated by it
//! order     which of many comes next
//! served    a node whose pods an API server knows
//! services  Services of any number, with their backends
//! timed     work that is timed in slices, with the clearing up between them left out
//! ```

pub mod cluster;
pub mod flows;
pub mod frames;
pub mod map;
pub mod obeyed;
pub mod order;
pub mod served;
pub mod services;
pub mod timed;
