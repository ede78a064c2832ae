//! What has changed between two clusters, found by comparing pointers first.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::model::{Namespace, NetworkPolicy, Node, ObjectKey, Pod};

/// An object with a name among others of its kind.
pub(super) trait Keyed: PartialEq {
    /// What it is called.
    type Key: Ord + ?Sized;

    /// What it is called.
    fn key(&self) -> &Self::Key;
}

/// Objects of one kind as they were last seen, in the order of their keys, each with a note that is
/// kept for as long as the object is there.
#[derive(Debug)]
pub(super) struct Seen<T, N = ()>(Vec<(Arc<T>, N)>);

/// An object that is there, was there, or both and differs.
#[derive(Debug)]
pub(super) struct Change<T> {
    pub(super) before: Option<Arc<T>>,
    pub(super) after: Option<Arc<T>>,
}

impl<T, N> Default for Seen<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Keyed, N: Default> Seen<T, N> {
    /// Takes over what is there now, in the order of the keys, and tells what differs. `change` gets
    /// the note of the object, which is lost if the object is no longer there.
    pub(super) fn update<'a>(
        &mut self,
        now: impl ExactSizeIterator<Item = &'a Arc<T>>,
        mut change: impl FnMut(Change<T>, &mut N),
    ) where
        T: 'a,
    {
        let mut result = Vec::with_capacity(now.len());
        let mut old = std::mem::take(&mut self.0).into_iter().peekable();
        for object in now {
            let mut before = None;
            while let Some((other, _)) = old.peek() {
                let order =
                    if Arc::ptr_eq(other, object) { Ordering::Equal } else { other.key().cmp(object.key()) };
                if order == Ordering::Greater {
                    break;
                }
                let taken = old.next();
                if order == Ordering::Equal {
                    before = taken;
                    break;
                }
                if let Some((other, mut note)) = taken {
                    change(Change { before: Some(other), after: None }, &mut note);
                }
            }
            match before {
                Some((other, note)) if Arc::ptr_eq(&other, object) => result.push((other, note)),
                Some((other, mut note)) => {
                    // The newer of two equal ones: the next look finds the same pointer.
                    if *other != **object {
                        let after = Some(Arc::clone(object));
                        change(Change { before: Some(other), after }, &mut note);
                    }
                    result.push((Arc::clone(object), note));
                }
                None => {
                    let mut note = N::default();
                    change(Change { before: None, after: Some(Arc::clone(object)) }, &mut note);
                    result.push((Arc::clone(object), note));
                }
            }
        }
        for (other, mut note) in old {
            change(Change { before: Some(other), after: None }, &mut note);
        }
        self.0 = result;
    }

    /// All that differs.
    pub(super) fn changes<'a>(&mut self, now: impl ExactSizeIterator<Item = &'a Arc<T>>) -> Vec<Change<T>>
    where
        T: 'a,
    {
        let mut changes = Vec::new();
        self.update(now, |change, _| changes.push(change));
        changes
    }

    /// The note of an object, if it is there.
    pub(super) fn note(&self, key: &T::Key) -> Option<&N> {
        let at = self.0.binary_search_by(|(object, _)| object.key().cmp(key)).ok()?;
        Some(&self.0[at].1)
    }
}

impl Keyed for Pod {
    type Key = ObjectKey;

    fn key(&self) -> &ObjectKey {
        &self.key
    }
}

impl Keyed for NetworkPolicy {
    type Key = ObjectKey;

    fn key(&self) -> &ObjectKey {
        &self.key
    }
}

impl Keyed for Namespace {
    type Key = str;

    fn key(&self) -> &str {
        self.name()
    }
}

impl Keyed for Node {
    type Key = str;

    fn key(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn told(seen: &mut Seen<Node, u32>, now: &[Arc<Node>]) -> Vec<(String, bool, bool, u32)> {
        let mut told = Vec::new();
        seen.update(now.iter(), |change, note| {
            let either = change.before.as_ref().or(change.after.as_ref()).unwrap();
            *note += 1;
            told.push((either.name.clone(), change.before.is_some(), change.after.is_some(), *note));
        });
        told
    }

    #[test]
    fn only_what_differs_is_told() {
        let node = |name: &str, addresses: &[[u8; 4]]| {
            let addresses = addresses.iter().map(|address| (*address).into()).collect();
            Arc::new(Node { name: name.to_owned(), labels: Labels::new(), addresses, pod_nets: Vec::new() })
        };
        let mut seen = Seen::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| node(name, &[]));
        let is = |name: &str, before, after, note| (name.to_owned(), before, after, note);
        let first = told(&mut seen, &[Arc::clone(&b), Arc::clone(&c)]);
        assert_eq!(first, [is("b", false, true, 1), is("c", false, true, 1)]);
        // Equal, but another object.
        let again = node("c", &[]);
        let second = told(&mut seen, &[Arc::clone(&a), Arc::clone(&b), Arc::clone(&again)]);
        assert_eq!(second, [is("a", false, true, 1)]);
        assert!(Arc::ptr_eq(&seen.0[2].0, &again));
        let third = told(&mut seen, &[node("b", &[[1, 2, 3, 4]]), node("d", &[])]);
        let expected = [
            is("a", true, false, 2),
            is("b", true, true, 2),
            is("c", true, false, 2),
            is("d", false, true, 1),
        ];
        assert_eq!(third, expected);
        assert_eq!((seen.note("b"), seen.note("a")), (Some(&2), None));
    }
}
