//! Connectivity as text: by destination, and edge by edge.

use std::collections::{BTreeMap, HashSet};

use super::{Connectivity, Pair};

/// For each party, who can open what to it. The list of sources is broken at `width`.
pub fn by_destination(found: &Connectivity, width: usize) -> String {
    table(found, true, width)
}

/// The same without those to which nobody can open anything.
pub(in crate::tools) fn reached(found: &Connectivity, width: usize) -> String {
    table(found, false, width)
}

fn table(found: &Connectivity, with_unreached: bool, width: usize) -> String {
    let mut rows: Vec<[String; 3]> = vec![["TO".to_owned(), "PORTS".to_owned(), "FROM".to_owned()]];
    let mut by_destination: Vec<Vec<&Pair>> = vec![Vec::new(); found.parties.len()];
    for pair in &found.pairs {
        by_destination[pair.to].push(pair);
    }
    for (party, arriving) in found.parties.iter().zip(by_destination) {
        let mut alike: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for pair in &arriving {
            for words in ports(pair) {
                alike.entry(words).or_default().push(pair.from);
            }
        }
        let mut name = party.name.clone();
        if alike.is_empty() && !with_unreached {
            continue;
        }
        if alike.is_empty() {
            rows.push([name, "nothing".to_owned(), "nobody".to_owned()]);
            continue;
        }
        let mut alike: Vec<(String, Vec<usize>)> = alike.into_iter().collect();
        alike.sort_by_key(|(_, from)| from.clone());
        for (words, from) in alike {
            let whole: Vec<usize> = arriving.iter().map(|pair| pair.from).collect();
            rows.push([std::mem::take(&mut name), words, sources(found, &from, &whole)]);
        }
    }
    columns(&rows, width)
}

/// One line for each pair that can open anything.
pub fn edges(found: &Connectivity) -> String {
    let name = |number: usize| found.parties[number].name.as_str();
    let pairs = found.pairs.iter();
    let edges = pairs.flat_map(|pair| ports(pair).into_iter().map(move |words| (pair, words)));
    let edges: Vec<(String, String)> =
        edges.map(|(pair, words)| (format!("{} -> {}", name(pair.from), name(pair.to)), words)).collect();
    let width = edges.iter().map(|(edge, _)| edge.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (edge, words) in edges {
        text.push_str(&format!("{edge:width$}  {words}\n"));
    }
    text
}

/// What a pair can open; what only some of its pods or addresses can is told apart.
fn ports(pair: &Pair) -> Vec<String> {
    let partly = pair.some.without(&pair.all);
    let all = (!pair.all.is_empty()).then(|| pair.all.words());
    let partly = (!partly.is_empty()).then(|| format!("{} (some only)", partly.words()));
    all.into_iter().chain(partly).collect()
}

/// The sources in the fewest words: everyone, every pod, all but a few, or each by name.
fn sources(found: &Connectivity, some: &[usize], whole: &[usize]) -> String {
    let names = |numbers: &[usize]| {
        numbers.iter().map(|number| found.parties[*number].name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let outside = |numbers: &[usize]| -> Vec<usize> {
        numbers.iter().copied().filter(|number| found.parties[*number].outside).collect()
    };
    let pods = |numbers: &[usize]| -> Vec<usize> {
        numbers.iter().copied().filter(|number| !found.parties[*number].outside).collect()
    };
    let named: HashSet<usize> = some.iter().copied().collect();
    let rest: Vec<usize> = whole.iter().copied().filter(|number| !named.contains(number)).collect();
    let world = names(&outside(some));
    if rest.is_empty() && whole.len() > 1 {
        return "everyone".to_owned();
    }
    let (in_some, in_rest) = (pods(some), pods(&rest));
    let mut words = if in_some.len() > 1 && in_rest.is_empty() {
        "every pod".to_owned()
    } else if in_some.len() > 2 * in_rest.len() && in_some.len() > 3 {
        format!("every pod but {}", names(&in_rest))
    } else {
        names(&in_some)
    };
    if !words.is_empty() && !world.is_empty() {
        words.push_str(", ");
    }
    words + &world
}

/// Rows aligned; the last column is broken at commas and goes on below itself.
fn columns(rows: &[[String; 3]], line: usize) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let indent = first + second + 4;
    let mut text = String::new();
    for [to, ports, from] in rows {
        text.push_str(&format!("{to:first$}  {ports:second$}  "));
        let mut column = indent;
        for (at, name) in from.split(", ").enumerate() {
            let len = name.chars().count() + 2;
            if at > 0 && column + len > line.max(indent + 20) {
                text.push_str(&format!(",\n{:indent$}", ""));
                column = indent;
            } else if at > 0 {
                text.push_str(", ");
            }
            text.push_str(name);
            column += len;
        }
        text.push('\n');
    }
    text
}
