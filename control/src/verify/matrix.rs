//! Rows of dots and crosses.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Address, Family, Judgement, Transport};

/// What must hold for every pair of some endpoints.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// By what.
    pub protocol: Transport,
    /// To which port.
    pub port: u16,
    /// By which addresses; the first ones if missing.
    pub family: Option<Family>,
    /// Destinations: the columns.
    pub order: Vec<Address>,
    /// By source, a character for each destination: `.` allowed, `X` denied.
    pub rows: BTreeMap<String, String>,
    /// The same, stated independently.
    pub hand: Hand,
    /// What it shows.
    pub note: Option<String>,
}

/// A matrix as a default and exceptions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hand {
    /// What holds where nothing else is said.
    pub default: Judgement,
    /// From, to (`*`, `x/*`, `*/a`), verdict; the last that matches holds.
    pub set: Vec<(String, String, Judgement)>,
}

/// A matrix that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// A row without a character for each column, or with another character.
    #[error("row {row:?} of {source_name} does not have a dot or cross for each of {columns} columns")]
    Row {
        /// The row.
        row: String,
        /// Whose it is.
        source_name: String,
        /// How many there should be.
        columns: usize,
    },
    /// A source that is no address.
    #[error(transparent)]
    Source(#[from] super::AddressError),
    /// Rows and the independent statement say different things.
    #[error("{from} to {to}: the row says {row:?}, by hand it is {hand:?}")]
    Contradiction {
        /// Source.
        from: Address,
        /// Destination.
        to: Address,
        /// In the row.
        row: Judgement,
        /// By hand.
        hand: Judgement,
    },
}

impl Matrix {
    /// Every pair and what must become of it. Rows and the independent statement are compared on
    /// the way; a pod to itself is always allowed, whatever is said by hand.
    pub fn cells(&self) -> Result<Vec<(Address, Address, Judgement)>, MatrixError> {
        let mut cells = Vec::with_capacity(self.rows.len() * self.order.len());
        for (source, row) in &self.rows {
            let from: Address = source.parse()?;
            let wrong = || MatrixError::Row {
                row: row.clone(),
                source_name: source.clone(),
                columns: self.order.len(),
            };
            if row.len() != self.order.len() {
                return Err(wrong());
            }
            for (to, character) in self.order.iter().zip(row.chars()) {
                let judgement = match character {
                    '.' => Judgement::Allow,
                    'X' => Judgement::Deny,
                    _ => return Err(wrong()),
                };
                let hand = if from == *to { Judgement::Allow } else { self.hand.judgement(&from, to) };
                if hand != judgement {
                    return Err(MatrixError::Contradiction { from, to: to.clone(), row: judgement, hand });
                }
                cells.push((from.clone(), to.clone(), judgement));
            }
        }
        Ok(cells)
    }
}

impl Hand {
    /// What it says of one pair.
    pub fn judgement(&self, from: &Address, to: &Address) -> Judgement {
        let (from, to) = (from.to_string(), to.to_string());
        let said = self.set.iter().rev().find(|(one, other, _)| matches(one, &from) && matches(other, &to));
        said.map_or(self.default, |(_, _, judgement)| *judgement)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_suffix("/*"), pattern.strip_prefix("*/")) {
        (Some(namespace), _) => name.split_once('/').is_some_and(|(first, _)| first == namespace),
        (None, Some(pod)) => name.split_once('/').is_some_and(|(_, second)| second == pod),
        (None, None) => pattern == "*" || pattern == name,
    }
}
