//! What documents have been found to say, for as long as they are there.
//!
//! Reading YAML is most of the work of a load, and an edit leaves nearly all documents as they were. One
//! of the same text says the same, whatever file it stands in: it is not read again, and its objects are
//! the very same ones, so that who compares two clusters need only compare pointers. The items of a list
//! are kept one by one.

use std::collections::HashMap;
use std::sync::Arc;

use super::items::{Implied, Item, List};
use super::manifest::{How, Reading, read_document};

/// What was read of each text in the last load, and in the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Cache {
    before: HashMap<Part, Known>,
    now: HashMap<Part, Known>,
}

type Known = HashMap<Box<str>, Arc<Reading>>;

/// What a text is read as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Part {
    Document,
    Item { implied: Implied },
}

impl Cache {
    /// Begins a load: what the one before the last has read and the last one has not is given up.
    pub(super) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// What the parts of a document say, each with how many lines of it stand before the part.
    pub(super) fn read(&mut self, document: &str, how: How) -> Vec<(u64, Arc<Reading>)> {
        let list = List::of(document).and_then(|List { implied, items }| {
            let read = |item: &Item<'_>| {
                let part = Part::Item { implied };
                let reading = self.part(part, item.text, || item.read(implied, how))?;
                Some((item.lines_before, reading))
            };
            items.iter().map(read).collect()
        });
        list.or_else(|| {
            let read = || Some(read_document(document, how, None));
            Some(vec![(0, self.part(Part::Document, document, read)?)])
        })
        .unwrap_or_default()
    }

    fn part(
        &mut self,
        part: Part,
        text: &str,
        read: impl FnOnce() -> Option<Reading>,
    ) -> Option<Arc<Reading>> {
        let now = self.now.entry(part).or_default();
        if let Some(reading) = now.get(text) {
            return Some(Arc::clone(reading));
        }
        let (text, reading) = match self.before.get_mut(&part).and_then(|before| before.remove_entry(text)) {
            Some(known) => known,
            None => (text.into(), Arc::new(read()?)),
        };
        now.insert(text, Arc::clone(&reading));
        Some(reading)
    }
}
