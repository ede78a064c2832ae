//! Values in use, each under a number that is its own for as long as it is used.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Numbers for values, from 0. A number that is no longer used goes to another value only after the
/// next [`Counted::settle`]: until then whoever remembers it may still ask what it was.
#[derive(Debug)]
pub(super) struct Counted<T> {
    numbers: HashMap<Arc<T>, u32>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// Numbers given out since the last settling.
    fresh: Vec<u32>,
    /// Numbers without users, some of which may have found new ones.
    left: Vec<u32>,
    used: usize,
}

#[derive(Debug)]
struct Slot<T> {
    value: Arc<T>,
    users: u32,
    is_fresh: bool,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        let (slots, free, fresh, left) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { numbers: HashMap::new(), slots, free, fresh, left, used: 0 }
    }
}

impl<T: Eq + Hash> Counted<T> {
    /// The number of `value`, which has one user more.
    pub(super) fn acquire(&mut self, value: T) -> u32 {
        self.enter(value).0
    }

    /// The number of `value`, which has one user more, and whether it was given out just now.
    pub(super) fn enter(&mut self, value: T) -> (u32, bool) {
        if let Some(number) = self.numbers.get(&value).copied() {
            self.share(number);
            return (number, false);
        }
        let value = Arc::new(value);
        let slot = Slot { value: Arc::clone(&value), users: 1, is_fresh: true };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.numbers.insert(value, number);
        self.fresh.push(number);
        self.used += 1;
        (number, true)
    }

    /// The value under `number` has one user more.
    pub(super) fn share(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        self.used += usize::from(slot.users == 0);
        slot.users += 1;
    }

    /// The value under `number` has one user less.
    pub(super) fn release(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.users -= 1;
        if slot.users == 0 {
            self.used -= 1;
            self.left.push(number);
        }
    }

    /// Each of these has one user less, as often as it is among them.
    pub(super) fn release_all(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.release(number);
        }
    }

    /// The value under `number`.
    pub(super) fn value(&self, number: u32) -> &T {
        &self.slots[number as usize].value
    }

    /// Whether anybody uses `number`.
    pub(super) fn is_used(&self, number: u32) -> bool {
        self.slots.get(number as usize).is_some_and(|slot| slot.users > 0)
    }

    /// All values in use, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let slots = (0..).zip(&self.slots).filter(|(_, slot)| slot.users > 0);
        slots.map(|(number, slot)| (number, &*slot.value))
    }

    /// Values that have come into use since the last settling.
    pub(super) fn fresh(&self) -> Vec<u32> {
        self.fresh.iter().copied().filter(|number| self.is_used(*number)).collect()
    }

    /// Whether `number` was given out since the last settling.
    pub(super) fn is_fresh(&self, number: u32) -> bool {
        self.slots[number as usize].is_fresh
    }

    /// Values that were in use at the last settling and are no longer.
    pub(super) fn gone(&self) -> Vec<u32> {
        let mut gone: Vec<u32> = self.left.clone();
        gone.retain(|number| !self.is_used(*number) && !self.is_fresh(*number));
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    /// Whether other values are in use than at the last settling.
    pub(super) fn has_changed(&self) -> bool {
        self.fresh.iter().any(|number| self.is_used(*number))
            || self.left.iter().any(|number| !self.is_used(*number) && !self.is_fresh(*number))
    }

    /// How many values are in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// One more than the highest number that was ever in use.
    pub(super) fn bound(&self) -> usize {
        self.slots.len()
    }

    /// Frees the numbers that nobody uses.
    pub(super) fn settle(&mut self) {
        for number in std::mem::take(&mut self.fresh) {
            self.slots[number as usize].is_fresh = false;
        }
        for number in std::mem::take(&mut self.left) {
            let slot = &self.slots[number as usize];
            if slot.users == 0 && self.numbers.get(&slot.value) == Some(&number) {
                self.numbers.remove(&slot.value);
                self.free.push(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_not_given_out_again_before_it_is_settled() {
        let mut counted = Counted::default();
        assert_eq!([counted.acquire("a"), counted.acquire("b"), counted.acquire("a")], [0, 1, 0]);
        assert_eq!((counted.fresh(), counted.gone(), counted.used()), (vec![0, 1], vec![], 2));
        counted.settle();
        assert!(!counted.has_changed());
        counted.release(0);
        counted.release(1);
        assert_eq!(counted.gone(), [1]);
        assert_eq!(counted.acquire("c"), 2);
        assert_eq!(counted.value(1), &"b");
        assert_eq!((counted.fresh(), counted.used(), counted.has_changed()), (vec![2], 2, true));
        counted.settle();
        assert_eq!([counted.acquire("d"), counted.acquire("b")], [1, 3]);
        assert_eq!(counted.iter().map(|(number, _)| number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn what_comes_back_before_settling_was_never_away() {
        let mut counted = Counted::default();
        counted.acquire("a");
        counted.settle();
        counted.release(0);
        assert_eq!((counted.gone(), counted.used()), (vec![0], 0));
        assert_eq!(counted.acquire("a"), 0);
        assert_eq!((counted.gone(), counted.fresh(), counted.has_changed()), (vec![], vec![], false));
        counted.release(0);
        counted.acquire("b");
        counted.release(1);
        assert_eq!((counted.gone(), counted.fresh()), (vec![0], vec![]));
        counted.settle();
        assert_eq!((counted.used(), counted.bound()), (0, 2));
    }
}
