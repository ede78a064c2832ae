//! The podgate program.
fn main() {}
