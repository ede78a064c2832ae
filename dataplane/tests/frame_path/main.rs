//! The frame path, from bytes to verdict, in memory.

mod frames;
mod parse_any;
mod parse_icmp;
mod parse_ip;
mod parse_link;
mod parse_transport;
