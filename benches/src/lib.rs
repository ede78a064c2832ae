//! Figures: what the gateway costs, beside what it is measured against, in one run.
//!
//! ```text
//! bin/floor      the same trunk, rings and workers, but frames are only retagged
//! bin/figures    plain bridge, floor and gateway in turn: packets, TCP, round trips
//! ```
//!
//! The criterion benches, one question each, stand in `benches/`.
