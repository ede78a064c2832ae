//! Tests of the TCP states.
