//! What is said of the fence.

use serde::{Deserialize, Serialize};

/// What closes new pods until they are guarded.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FenceStatus {
    /// The name of its nft tables.
    pub table: String,
    /// Whether it is up and as it should be, as last looked at.
    pub is_whole: bool,
    /// Devices that it lets pass: guarded ones, and veths of other bridges that the kernel does not tell apart.
    pub open_ports: usize,
    /// Frames that veths sent before they were guarded, dropped since the start.
    pub dropped_from_pods: u64,
    /// Frames that were for such veths, likewise.
    pub dropped_to_pods: u64,
    /// How many times others had changed or removed it and it was put back, since the start.
    pub put_back: u64,
}
