//! Which devices lead to pods: the veth ports of a bridge, and veths that are ports of none.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::net::{Link, LinkKind};

/// Names of devices: one, or all that begin so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DevicePattern {
    begin: String,
    is_prefix: bool,
}

/// A pattern that cannot be one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{given:?}: {problem}; give the name of a device, or how names begin and a '*' (veth*)")]
pub struct PatternError {
    given: String,
    problem: &'static str,
}

impl DevicePattern {
    /// Whether it is the name of such a device.
    pub fn matches(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&self.begin) } else { name == self.begin }
    }
}

impl FromStr for DevicePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (begin, is_prefix) = text.strip_suffix('*').map_or((text, false), |begin| (begin, true));
        let odd = |letter: char| !letter.is_ascii_alphanumeric() && !"-_.@".contains(letter);
        let problem = match begin {
            "" => "it would be every device",
            _ if begin.len() > 15 => "no device has so long a name",
            _ if begin.contains(odd) => "it has a letter that names of pods' devices do not have",
            // The trunk's own: pg and a number.
            _ if begin.starts_with("pg") || (is_prefix && begin == "p") => {
                "podgate's own devices are called so"
            }
            _ => return Ok(Self { begin: begin.into(), is_prefix }),
        };
        Err(PatternError { given: text.into(), problem })
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.begin, if self.is_prefix { "*" } else { "" })
    }
}

/// The devices that are guarded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Scope {
    /// The bridge whose veth ports are, by ifindex.
    pub(super) bridge: Option<u32>,
    /// Veths that are ports of nothing and lead into another namespace, by name.
    pub(super) routed: Option<DevicePattern>,
    /// Not these, by name.
    pub(super) except: BTreeSet<String>,
}

impl Scope {
    /// Whether the device is to be guarded.
    pub(super) fn has(&self, link: &Link) -> bool {
        let is_among = match link.master {
            Some(master) => self.bridge == Some(master),
            None => {
                let leads_away = link.peer.is_some_and(|peer| peer.netns_id.is_some());
                leads_away && self.routed.as_ref().is_some_and(|routed| routed.matches(&link.name))
            }
        };
        is_among && link.kind == LinkKind::Veth && !self.except.contains(&link.name)
    }

    /// Whether the device is a veth of another bridge.
    pub(super) fn is_of_others(&self, link: &Link) -> bool {
        link.kind == LinkKind::Veth && link.master.is_some_and(|master| self.bridge != Some(master))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{AdminState, Peer};

    fn veth(name: &str, master: Option<u32>, netns_id: Option<i32>) -> Link {
        Link {
            index: 9,
            name: name.into(),
            kind: LinkKind::Veth,
            mac: None,
            mtu: 1500,
            state: AdminState::Up,
            is_running: true,
            master,
            peer: Some(Peer { index: 2, netns_id }),
            tx_queues: 1,
            rx_queues: 1,
            group: 0,
        }
    }

    #[test]
    fn patterns_are_names_or_beginnings() {
        let all: DevicePattern = "veth*".parse().unwrap();
        assert!(all.matches("veth") && all.matches("veth0a") && !all.matches("avth"));
        let one: DevicePattern = "veth0".parse().unwrap();
        assert!(one.matches("veth0") && !one.matches("veth00"));
        assert_eq!((all.to_string(), one.to_string()), ("veth*".into(), "veth0".into()));
        for bad in ["", "*", "p*", "pg*", "pg01", "ve th", "ve*h", "a-name-that-is-too-long", "../x"] {
            let told = bad.parse::<DevicePattern>().unwrap_err().to_string();
            assert!(told.contains(bad) && told.contains("veth*"), "{told}");
        }
    }

    #[test]
    fn ports_of_the_bridge_and_veths_of_that_name_are_guarded() {
        let scope = Scope {
            bridge: Some(4),
            routed: Some("veth*".parse().unwrap()),
            except: BTreeSet::from(["veth-no".into()]),
        };
        for (link, expected) in [
            (veth("any", Some(4), Some(1)), true),
            (veth("any", Some(4), None), true),
            (veth("veth1", Some(5), Some(1)), false),
            (veth("veth1", None, Some(1)), true),
            (veth("veth1", None, None), false),
            (veth("other", None, Some(1)), false),
            (veth("veth-no", None, Some(1)), false),
            (veth("veth-no", Some(4), Some(1)), false),
            (Link { kind: LinkKind::Bridge, ..veth("veth1", None, Some(1)) }, false),
        ] {
            assert_eq!(scope.has(&link), expected, "{link:?}");
            assert_eq!(scope.is_of_others(&link), link.master == Some(5), "{link:?}");
        }
        let only_routed = Scope { bridge: None, ..scope };
        assert!(!only_routed.has(&veth("any", Some(4), Some(1))));
        assert!(only_routed.has(&veth("veth1", None, Some(1))));
    }
}
