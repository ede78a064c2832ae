//! Names that no other test has.

use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// `prefix` with the process and a count. Short, because device names have at most 15 bytes.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}{:x}x{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
