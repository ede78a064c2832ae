//! What a fence closes, and what it leaves open.

/// Every family that a fence may have a table in.
pub(super) const FAMILIES: [&str; 3] = ["bridge", "inet", "arp"];

/// What a fence is to close.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What its tables are called.
    pub table: String,
    /// The bridge whose veth ports are closed.
    pub bridged: Option<Bridged>,
    /// The veths that are closed though they are ports of no bridge: a name, or how names begin and a `*`.
    pub routed: Option<String>,
    /// Devices that stay open, by name.
    pub except: Vec<String>,
}

/// The veth ports of a bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bridged {
    /// The bridge.
    pub bridge: String,
    /// Whether nft can ask which bridge a port is of (`CONFIG_NFT_BRIDGE_META`). Where it cannot, the veths of
    /// every bridge are closed, and those of other bridges have to be let pass one by one.
    pub kernel_tells_bridges: bool,
}

/// A device that the fence lets pass: guarded, or none of its business.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
}

impl Plan {
    /// The families that it has a table in.
    pub(super) fn families(&self) -> impl Iterator<Item = &'static str> {
        let bridged = self.bridged.iter().map(|_| "bridge");
        bridged.chain(["inet", "arp"])
    }

    /// Whether ports of other bridges have to be let pass one by one.
    pub fn closes_other_bridges(&self) -> bool {
        self.bridged.as_ref().is_some_and(|bridged| !bridged.kernel_tells_bridges)
    }
}
