//! What of a sorted map is not what it was.

use std::sync::Arc;

/// Objects as they were last seen, in the order of their keys.
#[derive(Debug)]
pub(super) struct Seen<T>(Vec<Arc<T>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Seen<T> {
    /// Sees `now`, and tells of every object that is new, gone or another: what was there, and what is.
    /// Where nothing has changed, it costs a comparison of pointers.
    pub(super) fn follow<'a, K: Ord>(
        &mut self,
        now: impl ExactSizeIterator<Item = &'a Arc<T>> + Clone,
        key: impl Fn(&T) -> &K,
        mut tell: impl FnMut(Option<&Arc<T>>, Option<&Arc<T>>),
    ) where
        T: 'a,
    {
        let mut replaced = Vec::new();
        let mut before = self.0.iter().enumerate().peekable();
        let mut has_same_keys = true;
        for object in now.clone() {
            while let Some((_, gone)) =
                before.next_if(|(_, old)| !Arc::ptr_eq(old, object) && key(old) < key(object))
            {
                has_same_keys = false;
                tell(Some(gone), None);
            }
            match before.next_if(|(_, old)| Arc::ptr_eq(old, object) || key(old) == key(object)) {
                Some((_, old)) if Arc::ptr_eq(old, object) => {}
                Some((at, old)) => {
                    tell(Some(old), Some(object));
                    replaced.push((at, object.clone()));
                }
                None => {
                    has_same_keys = false;
                    tell(None, Some(object));
                }
            }
        }
        for (_, gone) in before {
            has_same_keys = false;
            tell(Some(gone), None);
        }
        if has_same_keys {
            for (at, object) in replaced {
                self.0[at] = object;
            }
        } else {
            self.0 = now.cloned().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn map(values: &BTreeMap<u8, u8>) -> BTreeMap<u8, Arc<(u8, u8)>> {
        values.iter().map(|(key, value)| (*key, Arc::new((*key, *value)))).collect()
    }

    proptest! {
        #[test]
        fn every_difference_is_told_and_nothing_else(
            states in prop::collection::vec(prop::collection::btree_map(0..12_u8, 0..3_u8, 0..12), 1..6),
        ) {
            let mut seen = Seen::default();
            let mut last: BTreeMap<u8, Arc<(u8, u8)>> = BTreeMap::new();
            for state in &states {
                // Equal ones are the very same.
                let mut now = map(state);
                for (key, object) in &mut now {
                    if let Some(old) = last.get(key).filter(|old| *old == object) {
                        *object = old.clone();
                    }
                }
                let mut told = BTreeMap::new();
                seen.follow(now.values(), |object| &object.0, |old, new| {
                    let key = old.or(new).unwrap().0;
                    let is_new = told.insert(key, (old.cloned(), new.cloned())).is_none();
                    assert!(is_new, "{key} is told twice");
                });
                let keys = last.keys().chain(now.keys()).copied();
                let expected: BTreeMap<_, _> = keys
                    .map(|key| (key, (last.get(&key).cloned(), now.get(&key).cloned())))
                    .filter(|(_, (old, new))| old != new)
                    .collect();
                prop_assert_eq!(told, expected);
                last = now;
            }
        }
    }
}
