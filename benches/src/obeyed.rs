//! From a change of policy to the first datagram of a probe that was treated by it.

use std::time::{Duration, Instant};

use anyhow::bail;
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

/// How long after the edit, in milliseconds, the first datagram was sent that obeyed, and how many after
/// it did not.
pub fn obeyed(probe: &Passage, edit: &Edit, until: Instant) -> Option<(f64, usize)> {
    let numbers = probe.between(edit.at, until);
    let first = numbers.clone().find(|number| probe.came[*number] == edit.allows)?;
    let strays = (first..numbers.end).filter(|number| probe.came[*number] != edit.allows).count();
    Some((probe.sent[first].duration_since(edit.at).as_secs_f64() * 1e3, strays))
}

/// The smallest of `values` that so many of a hundred stay within.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}
