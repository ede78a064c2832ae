//! What a person should know, for as long as it is so.
//!
//! The status has all that stand. The log has each as it comes; a pod has a part in some of them, as in those about
//! the addresses that it gives itself, and may make new ones without end. So a subject has so many lines in a row,
//! and then one in a while.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use podgate_flowtable::Time;

/// Lines that a subject may log in a row.
const IN_A_ROW: u32 = 50;
/// How long until it may log one more.
const ONE_MORE_AFTER: Duration = Duration::from_secs(10);

/// What an alarm is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Subject {
    /// Those that pods have given themselves.
    Addresses,
    /// Policies that cannot be put in force.
    Compile,
    /// Ports and pods that do not fit.
    Endpoints,
    /// The rule for pods that are not guarded yet.
    Fence,
    /// Those that cannot be used.
    Manifests,
    /// Whose veths are closed until they have been seen.
    OtherBridges,
    /// Those that could not be guarded, and a bridge that is gone.
    Ports,
    /// Another program was ahead of ours.
    Programs,
    /// Those that are not translated.
    Services,
    /// Those that show no life.
    Workers,
}

/// Standing alarms, by what they are about.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeMap<Subject, Standing>);

#[derive(Debug, Default)]
struct Standing {
    alarms: Vec<String>,
    /// When they end by themselves.
    until: Option<Time>,
    lines: Lines,
}

/// What a subject may still log.
#[derive(Debug, Default)]
struct Lines {
    /// Of those in a row, the ones that are used up.
    used: u32,
    /// When it last had more of them.
    since: Time,
    withheld: u64,
}

impl Subject {
    /// All of them.
    pub(super) const ALL: [Self; 10] = [
        Self::Addresses,
        Self::Compile,
        Self::Endpoints,
        Self::Fence,
        Self::Manifests,
        Self::OtherBridges,
        Self::Ports,
        Self::Programs,
        Self::Services,
        Self::Workers,
    ];

    /// As monitoring has it, for good.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Compile => "compile",
            Self::Endpoints => "endpoints",
            Self::Fence => "fence",
            Self::Manifests => "manifests",
            Self::OtherBridges => "other-bridges",
            Self::Ports => "ports",
            Self::Programs => "programs",
            Self::Services => "services",
            Self::Workers => "workers",
        }
    }
}

impl Alarms {
    /// Sets or clears the alarms about one thing; new ones are logged.
    pub(super) fn set(&mut self, about: Subject, alarms: Vec<String>, now: Time) {
        log(self.change(about, alarms, now));
    }

    /// The same for what happens at one moment, and is to be known of for some time.
    pub(super) fn set_until(&mut self, about: Subject, alarms: Vec<String>, until: Time, now: Time) {
        self.set(about, alarms, now);
        if let Some(standing) = self.0.get_mut(&about) {
            standing.until = Some(until);
        }
    }

    /// Ends what has its time, and logs how much was not logged. To be called at even intervals.
    pub(super) fn tick(&mut self, now: Time) {
        log(self.pass(now));
    }

    /// Those about one thing.
    pub(super) fn about(&self, about: Subject) -> &[String] {
        self.0.get(&about).map_or(&[], |standing| &standing.alarms)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.values().flat_map(|standing| &standing.alarms)
    }

    /// Returns what is to be logged.
    fn change(&mut self, about: Subject, alarms: Vec<String>, now: Time) -> Vec<String> {
        let Standing { alarms: before, until, lines } = self.0.entry(about).or_default();
        let known: HashSet<&String> = before.iter().collect();
        let new = alarms.iter().filter(|alarm| !known.contains(alarm));
        let logged = new.flat_map(|alarm| lines.of(about, alarm, now)).collect();
        (*before, *until) = (alarms, None);
        logged
    }

    /// Returns what is to be logged.
    fn pass(&mut self, now: Time) -> Vec<String> {
        let mut logged = Vec::new();
        for (about, standing) in &mut self.0 {
            if standing.until.is_some_and(|until| until <= now) {
                (standing.alarms, standing.until) = (Vec::new(), None);
            }
            logged.extend(standing.lines.caught_up(*about, now));
        }
        logged
    }
}

fn log(lines: Vec<String>) {
    for line in lines {
        tracing::warn!("{line}");
    }
}

impl Lines {
    /// What is logged where `alarm` comes.
    fn of(&mut self, about: Subject, alarm: &str, now: Time) -> impl Iterator<Item = String> + use<> {
        let caught_up = self.caught_up(about, now);
        let line = self.take().then(|| alarm.to_owned());
        self.withheld += u64::from(line.is_none());
        caught_up.into_iter().chain(line)
    }

    /// What there is to say of those that were withheld.
    fn caught_up(&mut self, about: Subject, now: Time) -> Option<String> {
        let more = now.since(self.since).as_nanos() / ONE_MORE_AFTER.as_nanos();
        if more > 0 {
            (self.used, self.since) = (self.used.saturating_sub(more.min(u128::from(IN_A_ROW)) as u32), now);
        }
        (self.withheld > 0 && self.take()).then(|| {
            let (withheld, about) = (std::mem::take(&mut self.withheld), about.name());
            format!(
                "{withheld} more alarms about {about} were not logged; 'podgate status' has those that stand"
            )
        })
    }

    fn take(&mut self) -> bool {
        let may = self.used < IN_A_ROW;
        self.used += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    fn alarms(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_new_is_logged_and_what_stands_is_told() {
        let mut known = Alarms::default();
        assert_eq!(known.change(Subject::Ports, alarms(&["a", "b"]), at(1)), ["a", "b"]);
        assert_eq!(known.change(Subject::Ports, alarms(&["a", "b", "c"]), at(2)), ["c"]);
        assert_eq!(known.change(Subject::Fence, alarms(&["a"]), at(2)), ["a"], "it is about something else");
        assert_eq!(known.iter().collect::<Vec<_>>(), ["a", "a", "b", "c"]);
        assert_eq!(known.change(Subject::Ports, alarms(&["b"]), at(3)), [""; 0]);
        assert_eq!(known.change(Subject::Ports, alarms(&["a", "b"]), at(4)), ["a"], "it has come again");
        known.set(Subject::Ports, Vec::new(), at(5));
        let counts = [Subject::Ports, Subject::Fence, Subject::Workers].map(|about| known.about(about).len());
        assert_eq!(counts, [0, 1, 0]);
    }

    #[test]
    fn who_makes_alarms_without_end_does_not_fill_the_log() {
        let mut known = Alarms::default();
        let mut lines = Vec::new();
        for turn in 0..100_000 {
            let alarm = vec![format!("it has address {turn}")];
            lines.extend(known.change(Subject::Addresses, alarm, at(turn / 1000)));
        }
        // In a row, and one in ten seconds of a hundred, which says how many there were besides.
        assert_eq!(lines.len(), 50 + 9);
        let withheld =
            "9950 more alarms about addresses were not logged; 'podgate status' has those that stand";
        assert_eq!(lines[49..51], ["it has address 49", withheld]);
        assert_eq!(known.about(Subject::Addresses), ["it has address 99999"]);
        let other = known.change(Subject::Ports, alarms(&["a"]), at(100));
        assert_eq!(other, ["a"], "others have lines of their own");
        assert_eq!(known.pass(at(200)).len(), 1);
        assert_eq!(known.pass(at(300)), [""; 0]);
        let more =
            (0..100).flat_map(|turn| known.change(Subject::Addresses, vec![turn.to_string()], at(10_000)));
        assert_eq!(more.count(), 50);
    }

    #[test]
    fn what_has_its_time_ends_with_it() {
        let mut known = Alarms::default();
        known.set_until(Subject::Programs, alarms(&["one was ahead"]), at(60), at(1));
        known.tick(at(59));
        assert_eq!(known.about(Subject::Programs).len(), 1);
        known.tick(at(60));
        assert_eq!(known.about(Subject::Programs).len(), 0);
        known.set_until(Subject::Programs, alarms(&["one was ahead"]), at(160), at(100));
        known.set(Subject::Programs, alarms(&["it is there still"]), at(101));
        known.tick(at(1000));
        assert_eq!(known.about(Subject::Programs).len(), 1, "set anew, it stands until it is cleared");
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> =
            Subject::ALL.iter().map(|subject| subject.name()).collect();
        assert_eq!(names.len(), Subject::ALL.len());
    }
}
