//! Sequences of packets and operations against the flow table.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podgate_flowtable_fuzz::run(bytes));
