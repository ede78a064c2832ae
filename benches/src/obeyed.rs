//! From a change of policy to the first datagram of a probe that was treated by it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use podgate_netns_tests::traffic::{Passage, Stamped};

/// Longer than this, and the change was lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many of the probe in a row that have not come mean that it is denied.
const SILENCE: u64 = 500;

/// A change.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// When it was made.
    pub at: Instant,
    /// Whether it allows the probe, or denies it.
    pub allows: bool,
}

/// Waits until the probe is treated as `allows` says; it was at number `sent` when that was asked for.
pub fn await_verdict(probe: &Stamped, allows: bool, sent: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let is_so =
            if allows { probe.newest() > sent } else { probe.sent() > sent.max(probe.newest()) + SILENCE };
        if is_so {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("an edit that {} the probe was not obeyed", if allows { "allows" } else { "denies" })
}

/// Makes so many changes, of which each denies or allows the probe in turn, and awaits each. `change` returns when it
/// was made.
pub fn change_in_turn(
    probe: &Stamped,
    changes: usize,
    mut change: impl FnMut(bool) -> anyhow::Result<Instant>,
) -> anyhow::Result<Vec<Edit>> {
    await_verdict(probe, true, 0)?;
    let mut edits = Vec::new();
    for number in 0..changes {
        // Not in step with anything: 20 to 60 ms, by a multiplication that scatters.
        std::thread::sleep(Duration::from_millis(20 + (number as u64).wrapping_mul(0x9e37_79b9) % 41));
        let (allows, sent) = (number % 2 == 1, probe.sent());
        edits.push(Edit { at: change(allows)?, allows });
        await_verdict(probe, allows, sent)?;
    }
    Ok(edits)
}

/// How long changes took to be obeyed, in milliseconds.
#[derive(Debug, Default)]
pub struct Obeyed {
    all: Vec<f64>,
    /// Those that deny, and those that allow.
    of: [Vec<f64>; 2],
    /// Datagrams that were treated by the policy of before after one had obeyed.
    pub strays: usize,
}

impl Obeyed {
    /// What [`Obeyed::columns`] are called.
    pub fn titles() -> String {
        aligned(["edits", "p50 ms", "p99 ms", "max ms", "deny p99", "allow p99"])
    }

    /// From each edit to the first datagram that was sent after it and obeyed. The last one was over at `over`.
    pub fn of(probe: &Passage, edits: &[Edit], over: Instant) -> anyhow::Result<Self> {
        let mut found = Self::default();
        for (position, edit) in edits.iter().enumerate() {
            let until = edits.get(position + 1).map_or(over, |next| next.at);
            let numbers = probe.between(edit.at, until);
            let first = numbers.clone().find(|number| probe.came[*number] == edit.allows);
            let first = first.context("an edit that no datagram has obeyed")?;
            found.strays += (first..numbers.end).filter(|number| probe.came[*number] != edit.allows).count();
            let took = probe.sent[first].duration_since(edit.at).as_secs_f64() * 1e3;
            found.all.push(took);
            found.of[usize::from(edit.allows)].push(took);
        }
        Ok(found)
    }

    /// How many there were, and how long they took.
    pub fn columns(&mut self) -> String {
        let [deny, allow] = &mut self.of;
        let times = [
            percentile(&mut self.all, 50),
            percentile(&mut self.all, 99),
            percentile(&mut self.all, 100),
            percentile(deny, 99),
            percentile(allow, 99),
        ];
        let [p50, p99, max, deny, allow] = times.map(|ms| format!("{ms:.1}"));
        aligned([&self.all.len().to_string(), &p50, &p99, &max, &deny, &allow])
    }
}

fn aligned(columns: [&str; 6]) -> String {
    columns.map(|column| format!("{column:>9}")).join(" ")
}

/// The smallest of `values` that so many of a hundred stay within.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}
