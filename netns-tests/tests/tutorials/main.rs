//! Tutorials, every step of them on live frames: each folder under examples/tutorials has a transcript.
//!
//! ```text
//! transcript what one holds
//! replay     a lab in which its steps are done, one after the other
//! talk       a connection that stays open between steps
//! ```

mod replay;
mod talk;
mod transcript;

use std::fs;
use std::path::{Path, PathBuf};

use replay::{Count, replay};

fn tutorials() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tutorials")
}

#[test]
fn two_spaces_and_the_dns_trap() {
    replay("two-spaces-dns", &Count { steps: 4, attempts: 13, checks: 3, ..Count::default() });
}

#[test]
fn the_cka_module() {
    replay("cka-module", &Count { steps: 24, attempts: 62, checks: 8, ..Count::default() });
}

#[test]
fn the_notes_on_layers_3_and_4() {
    replay("l3-l4-notes", &Count { steps: 8, attempts: 26, checks: 2, ..Count::default() });
}

#[test]
fn the_color_api() {
    replay("color-api", &Count { steps: 16, attempts: 39, checks: 5, ..Count::default() });
}

#[test]
fn payments_in_production() {
    replay("payments", &Count { steps: 17, attempts: 39, checks: 6, live: 3, told: 5 });
}

/// A folder that nobody replays would not be a tutorial for long.
#[test]
fn every_tutorial_is_replayed() {
    let entries = fs::read_dir(tutorials()).expect("the tutorials");
    let mut folders: Vec<String> = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    folders.sort();
    assert_eq!(folders, ["cka-module", "color-api", "l3-l4-notes", "payments", "two-spaces-dns"]);
}
