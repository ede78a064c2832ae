//! Equal values to one number.

use std::collections::HashMap;
use std::hash::Hash;

/// Numbers values from 0 in the order they first came.
#[derive(Debug)]
pub(super) struct Interner<T> {
    numbers: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// The number of `value`.
    pub(super) fn intern(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = self.values.len() as u32;
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    /// The values, by number.
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// The values, by number.
    pub(super) fn into_values(self) -> Vec<T> {
        self.values
    }
}
