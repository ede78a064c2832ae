//! What documents have been found to say, for as long as they are there.
//!
//! Reading YAML is most of the work of a load, and an edit leaves nearly all documents as they were. One
//! of the same text says the same, whatever file it stands in: it is not read again, and its objects are
//! the very same ones, so that who compares two clusters need only compare pointers.

use std::collections::HashMap;
use std::sync::Arc;

use super::manifest::{Reading, read_document};
use super::syntax::Strictness;

/// What was read of each document in the last load, and in the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Cache {
    before: HashMap<Box<str>, Arc<Reading>>,
    now: HashMap<Box<str>, Arc<Reading>>,
}

impl Cache {
    /// Begins a load: what the one before the last has read and the last one has not is given up.
    pub(super) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// What a document says, by itself.
    pub(super) fn read(&mut self, text: &str, strictness: Strictness) -> Arc<Reading> {
        if let Some(reading) = self.now.get(text) {
            return Arc::clone(reading);
        }
        let (text, reading) = self
            .before
            .remove_entry(text)
            .unwrap_or_else(|| (text.into(), Arc::new(read_document(text, strictness, None))));
        self.now.insert(text, Arc::clone(&reading));
        reading
    }
}
