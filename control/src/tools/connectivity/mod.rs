//! Who can reach whom.
//!
//! ```text
//! list    by destination, and edge by edge
//! matrix  all pairs at a glance
//! ```

mod list;
mod matrix;

use std::net::IpAddr;
use std::rc::Rc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub(super) use self::list::reached;
pub use self::list::{by_destination, edges};
pub use self::matrix::matrix;
use super::explain::PortQuery;
use super::reach::all_and_some;
use super::{Grouping, Judge, Party, Reach, Reacher, Survey, outside, party};

/// Who can reach whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connectivity {
    /// Everyone who takes part: pods first, then the world outside.
    pub parties: Vec<Party>,
    /// What each can open to each, in order. Nothing is said of a pod to itself, of addresses
    /// outside among themselves, and of ends without a family in common.
    pub pairs: Vec<Pair>,
    /// Pods that take no part, and why.
    pub absent: Vec<(String, &'static str)>,
}

/// What one party can open to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Who opens, by number.
    pub from: usize,
    /// To whom, by number.
    pub to: usize,
    /// What every pod and address of the one can open to every one of the other.
    pub all: Reach,
    /// What some of them can open.
    pub some: Reach,
}

/// A pair with the names of its parties.
#[derive(Serialize)]
pub(super) struct NamedPair<'a> {
    from: &'a str,
    to: &'a str,
    all: &'a Reach,
    some: &'a Reach,
}

impl Connectivity {
    /// Every pair, by name.
    pub(super) fn named(&self) -> impl Iterator<Item = NamedPair<'_>> {
        let name = |number: usize| self.parties[number].name.as_str();
        self.pairs.iter().map(move |pair| {
            let Pair { from, to, all, some } = pair;
            NamedPair { from: name(*from), to: name(*to), all, some }
        })
    }
}

impl NamedPair<'_> {
    /// Whether nothing can be opened.
    pub(super) fn is_empty(&self) -> bool {
        self.some.is_empty()
    }
}

/// Pairs by name.
impl Serialize for Connectivity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Absent<'a> {
            pod: &'a str,
            why: &'a str,
        }
        let absent = self.absent.iter().map(|(pod, why)| Absent { pod, why });
        let mut fields = serializer.serialize_struct("Connectivity", 3)?;
        fields.serialize_field("parties", &self.parties)?;
        fields.serialize_field("pairs", &self.named().collect::<Vec<_>>())?;
        fields.serialize_field("absent", &absent.collect::<Vec<_>>())?;
        fields.end()
    }
}

/// Asks the table for every pair: every port, or the one in `port`. A named port is looked up at
/// each destination; those that have no such port are left out.
pub fn connectivity(
    survey: &Survey,
    judge: &Judge,
    grouping: Grouping,
    port: Option<&PortQuery>,
) -> Connectivity {
    let mut parties = party::pods(survey, judge, grouping);
    parties.extend(outside::parties(&[judge]));
    let reacher = Reacher::new(judge);
    let reach = |from: IpAddr, to: IpAddr| {
        let (source, destination) = (judge.resolve(from).id, judge.resolve(to).id);
        if source.is_some() && source == destination {
            return None;
        }
        let reach = reacher.reach(from, to);
        match port {
            Some(port) => Some(Rc::new(reach.intersection(&asked(judge, port, to)?))),
            None => Some(reach),
        }
    };
    let pairs = pairs(&parties, reach);
    let absent = party::absent(survey, judge);
    let absent = absent.into_iter().map(|(pod, why)| (pod.to_string(), why)).collect();
    Connectivity { parties, pairs, absent }
}

/// The ports that are asked for at one destination.
fn asked(judge: &Judge, port: &PortQuery, to: IpAddr) -> Option<Reach> {
    let pod = judge.name(to).and_then(|name| judge.cluster().pods().get(&name.parse().ok()?));
    let ports = port.at(pod, to.is_ipv4());
    let each = ports.into_iter().map(|(protocol, port)| Reach::of(protocol, port));
    each.reduce(|one, other| one.union(&other))
}

/// Every pair of parties: what each address of the one can open to each of the other.
fn pairs(parties: &[Party], reach: impl Fn(IpAddr, IpAddr) -> Option<Rc<Reach>>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (from, source) in parties.iter().enumerate() {
        for (to, destination) in parties.iter().enumerate() {
            if source.outside && destination.outside {
                continue;
            }
            let (sources, destinations) = (source.addresses.iter(), &destination.addresses);
            let ends = sources.flat_map(|one| destinations.iter().map(move |other| (*one, *other)));
            let of_family = ends.filter(|(one, other)| one.is_ipv4() == other.is_ipv4());
            let both = all_and_some(of_family.filter_map(|(one, other)| reach(one, other)));
            pairs.extend(both.map(|(all, some)| Pair { from, to, all, some }));
        }
    }
    pairs
}
