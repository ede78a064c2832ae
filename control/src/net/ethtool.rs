//! Device features, as `ethtool -k` and `-K` show and set them.
//!
//! Messages: `Documentation/networking/ethtool-netlink.rst`, `FEATURES_GET` and `FEATURES_SET`.

use std::collections::BTreeMap;

use super::generic::{Family, Message, as_text, attributes, find, flag, nested, text};
use super::{NetError, Netns};

const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;

const FEATURES_HEADER: u16 = 1;
const FEATURES_HW: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const FEATURES_NOCHANGE: u16 = 5;
const HEADER_DEV_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// Groups of features that go by one short name in `ethtool -K`.
pub mod offload {
    /// `tx`: checksums left to the device. A veth hands them on unfinished; off, the kernel finishes
    /// them and cuts up segments that are too large before the frame leaves.
    pub const TX_CHECKSUM: &[&str] = &["tx-checksum-ip-generic", "tx-checksum-sctp"];
    /// `txvlan`: VLAN tags beside the frame instead of in it.
    pub const TX_VLAN: &[&str] = &["tx-vlan-hw-insert"];
    /// `gro`: received segments merged.
    pub const GRO: &[&str] = &["rx-gro"];
}

/// Whether a feature is to be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Used.
    On,
    /// Not used.
    Off,
}

/// What a device says of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Whether it is in use.
    pub active: Switch,
    /// Whether it was asked for; it may still be off for another feature's sake.
    pub wanted: Switch,
    /// Whether it can be switched at all.
    pub is_fixed: bool,
}

/// A connection to the `ethtool` family of one namespace.
#[derive(Debug, Clone)]
pub struct Ethtool(Family);

impl Ethtool {
    /// A connection in the calling thread's namespace. Must be called on a tokio runtime.
    pub async fn connect() -> Result<Self, NetError> {
        Self::open(None).await
    }

    /// A connection in another namespace. Must be called on a tokio runtime.
    pub async fn connect_in(netns: &Netns) -> Result<Self, NetError> {
        Self::open(Some(netns)).await
    }

    async fn open(netns: Option<&Netns>) -> Result<Self, NetError> {
        Family::connect("ethtool", "5.6", netns).await.map(Self)
    }

    /// Every feature of a device, by the kernel's name.
    pub async fn features(&self, device: &str) -> Result<BTreeMap<String, Feature>, NetError> {
        let replies = self.0.ask(FEATURES_GET, &[header(device)]).await;
        let replies =
            replies.map_err(|refusal| self.0.refused(device, "read its features".into(), refusal))?;
        Ok(replies.first().map(parse_features).unwrap_or_default())
    }

    /// Switches features by the kernel's names, and reads them back.
    ///
    /// What depends on a feature that goes off goes off with it (segmentation with checksums).
    pub async fn set_features(&self, device: &str, names: &[&str], switch: Switch) -> Result<(), NetError> {
        let bits: Vec<_> = names
            .iter()
            .map(|name| match switch {
                Switch::On => nested(BITS_BIT, &[text(BIT_NAME, name), flag(BIT_VALUE)]),
                Switch::Off => nested(BITS_BIT, &[text(BIT_NAME, name)]),
            })
            .collect();
        let wanted = nested(FEATURES_WANTED, &[nested(BITSET_BITS, &bits)]);
        let set = self.0.ask(FEATURES_SET, &[header(device), wanted]).await;
        let operation = || format!("switch {} {switch:?}", names.join(", "));
        set.map_err(|refusal| self.0.refused(device, operation(), refusal))?;
        let features = self.features(device).await?;
        for name in names {
            let found = features.get(*name).map(|feature| feature.active);
            if found != Some(switch) {
                return Err(NetError::NotApplied {
                    device: device.into(),
                    wanted: format!("{name} {switch:?}"),
                    found: format!("{found:?}"),
                });
            }
        }
        Ok(())
    }
}

fn header(device: &str) -> netlink_packet_core::DefaultNla {
    nested(FEATURES_HEADER, &[text(HEADER_DEV_NAME, device)])
}

fn parse_features(reply: &Message) -> BTreeMap<String, Feature> {
    let set = |kind| bit_names(reply.attribute(kind).unwrap_or_default());
    let (changeable, wanted, active) = (set(FEATURES_HW), set(FEATURES_WANTED), set(FEATURES_ACTIVE));
    let unchangeable = set(FEATURES_NOCHANGE);
    let switch = |set: &BTreeMap<String, Switch>, name: &str| *set.get(name).unwrap_or(&Switch::Off);
    // The set of changeable features is the only one that comes with a mask, which names them all.
    let feature = |name: &String| Feature {
        active: switch(&active, name),
        wanted: switch(&wanted, name),
        is_fixed: switch(&changeable, name) == Switch::Off || unchangeable.contains_key(name),
    };
    changeable.keys().chain(active.keys()).map(|name| (name.clone(), feature(name))).collect()
}

/// The bits of a set. In a set with a mask, a bit is on if it says so; in one without, by being there.
fn bit_names(bitset: &[u8]) -> BTreeMap<String, Switch> {
    const BITSET_NOMASK: u16 = 1;
    let is_list = find(bitset, BITSET_NOMASK).is_some();
    let bits = find(bitset, BITSET_BITS).unwrap_or_default();
    attributes(bits)
        .filter_map(|bit| {
            let name = as_text(find(bit.value(), BIT_NAME)?);
            let is_on = is_list || find(bit.value(), BIT_VALUE).is_some();
            Some((name, if is_on { Switch::On } else { Switch::Off }))
        })
        .collect()
}
