//! Which bytes of a datagram were seen, and in which pieces.

/// Runs that one datagram may have: one when its fragments come in order, one more for every gap.
const MAX_RUNS: usize = 8;

/// Fragments that follow each other without a gap: `unit` bytes each, the last one perhaps fewer.
///
/// Senders cut a datagram into equal pieces, so this remembers every cut in constant memory; and
/// the cuts tell a fragment that is sent again from one that overlaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Run {
    start: u32,
    end: u32,
    unit: u32,
}

/// How a fragment fits to those that were seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// Bytes that were not seen yet.
    New,
    /// Exactly one that was seen.
    Again,
    /// Bytes that were seen in another fragment, or none at all.
    Overlap,
    /// It would make more gaps than are remembered.
    Scattered,
}

/// The seen fragments of one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Runs {
    runs: [Run; MAX_RUNS],
    count: usize,
}

impl Runs {
    /// Adds the fragment of bytes `start..end`.
    pub(super) fn add(&mut self, start: u32, end: u32) -> Fit {
        if start >= end {
            return Fit::Overlap;
        }
        if let Some(run) = self.seen().iter().find(|run| run.start < end && start < run.end) {
            return if run.has_piece(start, end) { Fit::Again } else { Fit::Overlap };
        }
        let mut new = Run { start, end, unit: end - start };
        // Each neighbour is taken in if it fits, which makes room: so do that before counting.
        let mut kept = [Run::default(); MAX_RUNS];
        let mut count = 0;
        for &run in self.seen() {
            if let Some(joined) = run.join(new).or_else(|| new.join(run)) {
                new = joined;
            } else {
                kept[count] = run;
                count += 1;
            }
        }
        let Some(slot) = kept.get_mut(count) else { return Fit::Scattered };
        *slot = new;
        *self = Self { runs: kept, count: count + 1 };
        Fit::New
    }

    /// How many bytes were seen.
    pub(super) fn covered_bytes(&self) -> u32 {
        self.seen().iter().map(|run| run.end - run.start).sum()
    }

    /// Where the seen bytes end.
    pub(super) fn end(&self) -> u32 {
        self.seen().iter().map(|run| run.end).max().unwrap_or(0)
    }

    fn seen(&self) -> &[Run] {
        &self.runs[..self.count]
    }
}

impl Run {
    fn len(&self) -> u32 {
        self.end - self.start
    }

    fn has_piece(&self, start: u32, end: u32) -> bool {
        let at_cut = start >= self.start && (start - self.start).is_multiple_of(self.unit);
        at_cut && end == (start + self.unit).min(self.end)
    }

    /// This run and the `next`, if one run can say both.
    fn join(self, next: Self) -> Option<Self> {
        let adjacent = self.end == next.start;
        let has_no_short_piece = self.len().is_multiple_of(self.unit);
        let same_pieces = next.unit == self.unit;
        let one_short_piece = next.len() < self.unit && next.len() == next.unit;
        (adjacent && has_no_short_piece && (same_pieces || one_short_piece))
            .then_some(Self { end: next.end, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram of `total` bytes in pieces of `unit`.
    fn pieces(total: u32, unit: u32) -> Vec<(u32, u32)> {
        (0..total).step_by(unit as usize).map(|start| (start, (start + unit).min(total))).collect()
    }

    #[test]
    fn fragments_in_order_or_reversed_take_one_run() {
        for reversed in [false, true] {
            let mut order = pieces(60_000, 1480);
            if reversed {
                order.reverse();
            }
            let mut runs = Runs::default();
            for (index, &(start, end)) in order.iter().enumerate() {
                assert_eq!(runs.add(start, end), Fit::New);
                assert_eq!(runs.count, 1, "after {index}");
            }
            for (start, end) in order {
                assert_eq!(runs.add(start, end), Fit::Again);
            }
            assert_eq!((runs.covered_bytes(), runs.end()), (60_000, 60_000));
        }
    }

    #[test]
    fn any_other_cut_overlaps() {
        let mut runs = Runs::default();
        for (start, end) in pieces(4000, 1480) {
            runs.add(start, end);
        }
        let before = runs;
        for (start, end) in
            [(8, 1480), (0, 1472), (1480, 2968), (0, 2960), (2960, 3992), (3992, 4000), (5, 5)]
        {
            assert_eq!(runs.add(start, end), Fit::Overlap, "{start}..{end}");
        }
        assert_eq!(runs, before);
    }

    #[test]
    fn gaps_are_bounded_and_close_again() {
        let all = pieces(8 * 2 * MAX_RUNS as u32 + 16, 8);
        let mut runs = Runs::default();
        let (even, odd): (Vec<_>, Vec<_>) = all.iter().partition(|(start, _)| start % 16 == 0);
        for &(start, end) in &even[..MAX_RUNS] {
            assert_eq!(runs.add(start, end), Fit::New);
        }
        assert_eq!(runs.add(even[MAX_RUNS].0, even[MAX_RUNS].1), Fit::Scattered);
        for &(start, end) in &odd[..MAX_RUNS] {
            assert_eq!(runs.add(start, end), Fit::New);
        }
        assert_eq!(runs.count, 1);
        assert_eq!(runs.add(even[MAX_RUNS].0, even[MAX_RUNS].1), Fit::New);
    }
}
