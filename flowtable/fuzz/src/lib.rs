//! Bytes as a sequence of packets and operations, and what must hold after each.
//!
//! ```text
//! input      bytes, read as numbers
//! packets    numbers as packets: of a few connections, mostly such that they belong together
//! flows      what is done to a flow table
//! check      what must hold of it
//! fragments  what is done to a fragment table, and what must hold
//! ```
//!
//! The fuzzer runs this, and so does `tests/fuzz.rs`, which includes it.

mod check;
mod flows;
mod fragments;
mod input;
mod packets;

use input::Input;

/// Runs one sequence; panics if anything does not hold.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() {
        Some(0..0xe0) => flows::run(&mut input),
        Some(_) => fragments::run(&mut input),
        None => {}
    }
}
