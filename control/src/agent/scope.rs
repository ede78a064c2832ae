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

    /// Whether a name may be that of a device of both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        // The shortest names of one of them are among those of the other.
        self.matches(&other.begin) || other.matches(&self.begin)
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
    /// The bridge whose veth ports are.
    pub(super) bridge: Option<GuardedBridge>,
    /// Veths that are ports of nothing and lead into another namespace, by name.
    pub(super) routed: Option<DevicePattern>,
    /// Not these, by name.
    pub(super) except: BTreeSet<String>,
}

impl Scope {
    /// Whether the device is to be guarded.
    pub(super) fn has(&self, link: &Link) -> bool {
        let is_among = match link.master {
            Some(master) => self.bridge.as_ref().is_some_and(|bridge| bridge.is(master)),
            None => {
                let leads_away = link.peer.is_some_and(|peer| peer.netns_id.is_some());
                leads_away && self.routed.as_ref().is_some_and(|routed| routed.matches(&link.name))
            }
        };
        is_among && link.kind == LinkKind::Veth && !self.except.contains(&link.name)
    }

    /// Of all devices, the veths of other bridges. One that has the bridge's name is none of them, though it be made
    /// anew and not known yet.
    pub(super) fn veths_of_others<'a>(&self, links: &'a [Link]) -> impl Iterator<Item = &'a Link> {
        let is_own = |link: &&Link| {
            self.bridge.as_ref().is_some_and(|bridge| bridge.is(link.index) || bridge.name == link.name)
        };
        let others: BTreeSet<u32> =
            links.iter().filter(|link| !is_own(link)).map(|link| link.index).collect();
        links.iter().filter(move |link| {
            link.kind == LinkKind::Veth && link.master.is_some_and(|master| others.contains(&master))
        })
    }
}

/// The bridge whose ports are guarded. It stays the same when it is renamed; when it is gone, the next one of its name
/// is it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct GuardedBridge {
    /// What it is called with `--bridge`.
    name: String,
    /// Its number and what it is called; `None` while there is none.
    now: Option<(u32, String)>,
}

impl GuardedBridge {
    /// The one of that name, which is there.
    pub(super) fn new(name: &str, index: u32) -> Self {
        Self { name: name.into(), now: Some((index, name.into())) }
    }

    /// What it is called with `--bridge`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has that number.
    pub(super) fn is(&self, index: u32) -> bool {
        self.now.as_ref().is_some_and(|(now, _)| *now == index)
    }

    /// A device is there, or is otherwise than it was.
    pub(super) fn note(&mut self, link: &Link) {
        let is_it = self.now.is_none() && link.name == self.name || self.is(link.index);
        if is_it && link.kind == LinkKind::Bridge {
            self.now = Some((link.index, link.name.clone()));
        }
    }

    /// It is gone.
    pub(super) fn forget(&mut self) {
        self.now = None;
    }

    /// These are all devices that there are.
    pub(super) fn settle(&mut self, links: &[Link]) {
        if !links.iter().any(|link| link.kind == LinkKind::Bridge && self.is(link.index)) {
            self.forget();
        }
        for link in links {
            self.note(link);
        }
    }

    /// What is wrong with it, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        let name = &self.name;
        match &self.now {
            None => Some(format!(
                "there is no bridge {name} any more, and so no port of it to guard; one that is made under that name \
                 is guarded from then on"
            )),
            Some((_, called)) if called != name => Some(format!(
                "the bridge {name} is called {called} now: it is guarded, but the fence knows it by its name, and may \
                 leave its new pods open until they are guarded; rename it back, or detach and run podgate with \
                 --bridge {called}"
            )),
            Some(_) => None,
        }
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
            bridge: Some(GuardedBridge::new("cni0", 4)),
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
        }
        let only_routed = Scope { bridge: None, ..scope };
        assert!(!only_routed.has(&veth("any", Some(4), Some(1))));
        assert!(only_routed.has(&veth("veth1", None, Some(1))));
    }

    fn bridge(index: u32, name: &str) -> Link {
        Link { index, kind: LinkKind::Bridge, ..veth(name, None, None) }
    }

    #[test]
    fn veths_of_a_bridge_of_that_name_are_nobody_elses() {
        let scope =
            Scope { bridge: Some(GuardedBridge::new("cni0", 4)), routed: None, except: BTreeSet::default() };
        let at = |master: u32| veth(&format!("veth{master}"), Some(master), Some(1));
        // The one that is guarded was renamed; another has its name; of one's bridge nothing is known.
        let links =
            [bridge(4, "former0"), bridge(5, "docker0"), bridge(6, "cni0"), at(4), at(5), at(6), at(7)];
        let others: Vec<_> = scope.veths_of_others(&links).map(|link| link.name.as_str()).collect();
        assert_eq!(others, ["veth5"]);
    }

    #[test]
    fn the_next_bridge_of_the_name_is_the_one_when_it_is_gone() {
        let mut guarded = GuardedBridge::new("cni0", 4);
        let said = |guarded: &GuardedBridge| guarded.trouble().unwrap_or_default();
        guarded.note(&bridge(6, "cni0"));
        assert!(guarded.is(4) && guarded.trouble().is_none(), "it is there still");
        guarded.note(&bridge(4, "former0"));
        assert!(guarded.is(4) && said(&guarded).contains("former0"));
        guarded.settle(&[bridge(4, "former0"), bridge(6, "cni0")]);
        assert!(guarded.is(4) && said(&guarded).contains("former0"));
        guarded.forget();
        assert!(!guarded.is(4) && said(&guarded).contains("no bridge cni0"));
        guarded.note(&Link { name: "cni0".into(), ..veth("cni0", None, None) });
        assert!(guarded.now.is_none(), "a veth is no bridge");
        guarded.note(&bridge(6, "cni0"));
        assert!(guarded.is(6) && guarded.trouble().is_none());
        guarded.settle(&[bridge(7, "cni0")]);
        assert!(guarded.is(7) && guarded.trouble().is_none());
        guarded.settle(&[bridge(8, "docker0")]);
        assert!(said(&guarded).contains("no bridge cni0"));
    }
}
