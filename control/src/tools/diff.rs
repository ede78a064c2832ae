//! Which connections a change allows or denies.
//!
//! Both tables are asked for every pair of pods that are there before and after, and for the world
//! outside; what the manifests look like does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::connectivity::{Connectivity, NamedPair, Pair, reached};
use super::reach::all_and_some;
use super::{Grouping, Judge, Party, Reach, Reacher, Survey, outside, party};
use crate::compile::CompileError;

/// What a change does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What can be opened now and could not before.
    pub allowed: Connectivity,
    /// What could be opened before and cannot now.
    pub denied: Connectivity,
    /// Pods that are there before only; they are not compared.
    pub gone: Vec<String>,
    /// Pods that are there after only; they are not compared.
    pub new: Vec<String>,
}

/// One end, before and after.
struct Member {
    old: Vec<IpAddr>,
    new: Vec<IpAddr>,
}

/// Compares two clusters.
pub fn diff(old: &Survey, new: &Survey, grouping: Grouping) -> Result<Difference, CompileError> {
    let (before, after) = (Judge::new(&old.cluster)?, Judge::new(&new.cluster)?);
    let addresses = |survey: &Survey, judge: &Judge| -> BTreeMap<String, Vec<IpAddr>> {
        let pods = party::pods(survey, judge, Grouping::Pod).into_iter();
        pods.map(|party| (party.name, party.addresses.concat())).collect()
    };
    let (in_old, in_new) = (addresses(old, &before), addresses(new, &after));
    let lacking = |these: &BTreeMap<String, Vec<IpAddr>>, those: &BTreeMap<String, Vec<IpAddr>>| {
        these.keys().filter(|pod| !those.contains_key(*pod)).cloned().collect::<Vec<_>>()
    };
    let mut parties = party::pods(new, &after, grouping);
    for party in &mut parties {
        party.pods.retain(|pod| in_old.contains_key(pod));
    }
    parties.retain(|party| !party.pods.is_empty());
    parties.extend(outside::parties(&[&before, &after]));
    let kind = |end: &Member| (party::kind(&before, &end.old), party::kind(&after, &end.new));
    let of_party = |party| party::two_of_each(members(party, &in_old, &in_new), kind);
    let members: Vec<Vec<Member>> = parties.iter().map(of_party).collect();
    let tables =
        Tables { before: Reacher::new(&before), after: Reacher::new(&after), nothing: Rc::default() };
    let (mut allowed, mut denied) = (Vec::new(), Vec::new());
    for (from, sources) in members.iter().enumerate() {
        for (to, destinations) in members.iter().enumerate() {
            if parties[from].outside && parties[to].outside {
                continue;
            }
            let ends = sources.iter().enumerate().flat_map(|(at, source)| {
                let others = destinations.iter().enumerate();
                others.filter(move |(other, _)| from != to || at != *other).map(move |(_, end)| (source, end))
            });
            let changes: Vec<[Rc<Reach>; 2]> =
                ends.filter_map(|(source, destination)| tables.change(source, destination)).collect();
            for (pairs, which) in [(&mut allowed, 0), (&mut denied, 1)] {
                let both = all_and_some(changes.iter().map(|change| change[which].clone()));
                pairs.extend(both.map(|(all, some)| Pair { from, to, all, some }));
            }
        }
    }
    let connectivity = |pairs| Connectivity { parties: parties.clone(), pairs, absent: Vec::new() };
    Ok(Difference {
        allowed: connectivity(allowed),
        denied: connectivity(denied),
        gone: lacking(&in_old, &in_new),
        new: lacking(&in_new, &in_old),
    })
}

fn members(
    party: &Party,
    in_old: &BTreeMap<String, Vec<IpAddr>>,
    in_new: &BTreeMap<String, Vec<IpAddr>>,
) -> Vec<Member> {
    if party.outside {
        let samples = party.addresses.iter();
        return samples.map(|sample| Member { old: sample.clone(), new: sample.clone() }).collect();
    }
    let member = |pod: &String| Some(Member { old: in_old.get(pod)?.clone(), new: in_new.get(pod)?.clone() });
    party.pods.iter().filter_map(member).collect()
}

/// Both tables.
struct Tables<'a> {
    before: Reacher<'a>,
    after: Reacher<'a>,
    nothing: Rc<Reach>,
}

impl Tables<'_> {
    /// What becomes allowed and what becomes denied between two ends, family by family; `None` if
    /// they have none in common before and after.
    fn change(&self, from: &Member, to: &Member) -> Option<[Rc<Reach>; 2]> {
        let families = [true, false].into_iter().filter_map(|v4| {
            let was = every(&self.before, &from.old, &to.old, v4)?;
            let is = every(&self.after, &from.new, &to.new, v4)?;
            if was == is {
                return Some([self.nothing.clone(), self.nothing.clone()]);
            }
            Some([Rc::new(is.without(&was)), Rc::new(was.without(&is))])
        });
        families.reduce(|[more, less], [also_more, also_less]| {
            [Rc::new(more.union(&also_more)), Rc::new(less.union(&also_less))]
        })
    }
}

/// What can be opened between all addresses of one family.
fn every(reacher: &Reacher<'_>, from: &[IpAddr], to: &[IpAddr], v4: bool) -> Option<Rc<Reach>> {
    let of_family = |address: &&IpAddr| address.is_ipv4() == v4;
    let from = from.iter().filter(of_family);
    let pairs = from.flat_map(|one| to.iter().filter(of_family).map(move |other| (*one, *other)));
    let each = pairs.map(|(one, other)| reacher.reach(one, other));
    each.reduce(|all, reach| if Rc::ptr_eq(&all, &reach) { all } else { Rc::new(all.intersection(&reach)) })
}

impl Difference {
    /// Whether no connection changes.
    pub fn is_empty(&self) -> bool {
        let mut pairs = self.allowed.pairs.iter().chain(&self.denied.pairs);
        pairs.all(|pair| pair.some.is_empty())
    }

    /// For people to read, broken at `width`.
    pub fn render(&self, width: usize) -> String {
        let mut text = String::new();
        for (title, found) in [("now allowed", &self.allowed), ("now denied", &self.denied)] {
            if found.pairs.iter().any(|pair| !pair.some.is_empty()) {
                text.push_str(&format!("{title}\n{}\n", reached(found, width)));
            }
        }
        let changed =
            self.allowed.pairs.iter().chain(&self.denied.pairs).filter(|pair| !pair.some.is_empty());
        let changed: BTreeSet<(usize, usize)> = changed.map(|pair| (pair.from, pair.to)).collect();
        let all = self.allowed.pairs.len();
        text.push_str(&match changed.len() {
            0 => format!("no connection changes; {all} pairs were compared\n"),
            count => format!("{count} of {all} pairs change\n"),
        });
        for (which, pods) in [("old", &self.gone), ("new", &self.new)] {
            if !pods.is_empty() {
                text.push_str(&format!("only in the {which} one, and not compared: {}\n", pods.join(", ")));
            }
        }
        text
    }
}

/// The pairs that change; those that do not are left out.
impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Difference", 4)?;
        fields.serialize_field("allowed", &changes(&self.allowed))?;
        fields.serialize_field("denied", &changes(&self.denied))?;
        fields.serialize_field("only_old", &self.gone)?;
        fields.serialize_field("only_new", &self.new)?;
        fields.end()
    }
}

fn changes(found: &Connectivity) -> Vec<NamedPair<'_>> {
    found.named().filter(|pair| !pair.is_empty()).collect()
}
