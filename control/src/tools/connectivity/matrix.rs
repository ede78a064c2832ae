//! Connectivity as a matrix: rows open, columns are opened to.

use std::collections::HashMap;

use super::{Connectivity, Pair};

/// Who can open something to whom, at a glance.
pub fn matrix(found: &Connectivity, title: &str) -> String {
    let count = found.parties.len();
    let digits = count.to_string().len();
    let name = found.parties.iter().map(|party| party.name.chars().count()).max().unwrap_or(0);
    let pairs: HashMap<(usize, usize), &Pair> =
        found.pairs.iter().map(|pair| ((pair.from, pair.to), pair)).collect();
    let mut text = format!("{title}: rows open connections to columns\n\n{:name$} {:digits$} ", "", "");
    for number in 1..=count {
        text.push_str(&format!(" {number:>digits$}"));
    }
    text.push('\n');
    let mut seen = [false; 4];
    for (from, party) in found.parties.iter().enumerate() {
        text.push_str(&format!("{:name$} {:>digits$} ", party.name, from + 1));
        let mut line = String::new();
        for to in 0..count {
            let cell = cell(pairs.get(&(from, to)).copied());
            seen[cell as usize] = true;
            line.push_str(&format!(" {:>digits$}", cell.mark()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let legend = Cell::ALL.into_iter().filter(|cell| seen[*cell as usize]).filter_map(Cell::legend);
    text.push_str(&format!("\n{}\n", legend.collect::<Vec<_>>().join("   ")));
    text
}

#[derive(Clone, Copy)]
enum Cell {
    Allowed,
    Denied,
    Partly,
    Nothing,
}

impl Cell {
    const ALL: [Self; 4] = [Self::Allowed, Self::Denied, Self::Partly, Self::Nothing];

    fn mark(self) -> char {
        match self {
            Self::Allowed => '✓',
            Self::Denied => '✗',
            Self::Partly => '~',
            Self::Nothing => ' ',
        }
    }

    fn legend(self) -> Option<&'static str> {
        match self {
            Self::Allowed => Some("✓ allowed"),
            Self::Denied => Some("✗ denied"),
            Self::Partly => Some("~ for some of its pods or addresses"),
            Self::Nothing => None,
        }
    }
}

fn cell(pair: Option<&Pair>) -> Cell {
    match pair {
        None => Cell::Nothing,
        Some(pair) if pair.some.is_empty() => Cell::Denied,
        Some(pair) if pair.all == pair.some => Cell::Allowed,
        Some(_) => Cell::Partly,
    }
}
