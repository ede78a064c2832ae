//! The local socket: status and events.
