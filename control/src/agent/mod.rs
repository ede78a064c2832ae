//! Attach, publish, supervise.
