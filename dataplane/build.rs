//! Compiles the steering programs.
fn main() {}
