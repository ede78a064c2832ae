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
    pub all: Rc<Reach>,
    /// What some of them can open.
    pub some: Rc<Reach>,
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
        let reach = reacher.reach(from, to);
        match port {
            Some(port) => Some(Rc::new(reach.intersection(&asked(judge, port, to)?))),
            None => Some(reach),
        }
    };
    // Names that no rule asks for do not tell pods apart in the table.
    let asked_of = |addresses: &[IpAddr]| port.and_then(|port| asked(judge, port, *addresses.first()?));
    let kind = |addresses: &&Vec<IpAddr>| (party::kind(judge, addresses), asked_of(addresses));
    let ends: Vec<Vec<&Vec<IpAddr>>> =
        parties.iter().map(|party| party::two_of_each(&party.addresses, kind)).collect();
    let pairs = pairs(&parties, &ends, reach);
    let absent = party::absent(survey, judge);
    let absent = absent.into_iter().map(|(pod, why)| (pod.to_string(), why)).collect();
    Connectivity { parties, pairs, absent }
}

/// The ports that are asked for at one destination.
fn asked(judge: &Judge, port: &PortQuery, to: IpAddr) -> Option<Reach> {
    let pod = judge.name(to).and_then(|name| judge.cluster().pods().get(&name.parse().ok()?));
    let ports = port.at(pod.map(AsRef::as_ref), to.is_ipv4());
    let each = ports.into_iter().map(|(protocol, port)| Reach::of(protocol, port));
    each.reduce(|one, other| one.union(&other))
}

/// Every pair of parties: what each address of the one can open to each of the other. `ends` are
/// the addresses of the pods of each party.
fn pairs(
    parties: &[Party],
    ends: &[Vec<&Vec<IpAddr>>],
    reach: impl Fn(IpAddr, IpAddr) -> Option<Rc<Reach>>,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (from, sources) in ends.iter().enumerate() {
        for (to, destinations) in ends.iter().enumerate() {
            if parties[from].outside && parties[to].outside {
                continue;
            }
            let both = sources.iter().enumerate().flat_map(|(at, source)| {
                let others =
                    destinations.iter().enumerate().filter(move |(other, _)| from != to || at != *other);
                others.flat_map(move |(_, destination)| of_one_family(source, destination))
            });
            let both = all_and_some(both.filter_map(|(one, other)| reach(one, other)));
            pairs.extend(both.map(|(all, some)| Pair { from, to, all, some }));
        }
    }
    pairs
}

/// Every pair of addresses of one family.
fn of_one_family<'a>(from: &'a [IpAddr], to: &'a [IpAddr]) -> impl Iterator<Item = (IpAddr, IpAddr)> + 'a {
    let pairs = from.iter().flat_map(move |one| to.iter().map(move |other| (*one, *other)));
    pairs.filter(|(one, other)| one.is_ipv4() == other.is_ipv4())
}
