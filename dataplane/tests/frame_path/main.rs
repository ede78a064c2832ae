//! The frame path, from bytes to verdict, in memory.

mod cluster;
mod frames;
mod parse_any;
mod parse_icmp;
mod parse_ip;
mod parse_link;
mod parse_transport;
mod step_any;
mod step_carried;
mod step_counters;
mod step_denied;
mod step_fragment;
mod step_group;
mod step_handover;
mod step_icmp;
mod step_neighbour;
mod step_policy;
mod step_quota;
mod step_refuse;
mod step_service;
mod step_spoof;
mod step_time;
mod step_way;
mod world;
