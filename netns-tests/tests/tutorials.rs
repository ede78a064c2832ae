//! Tutorials, every step of them on live frames: each folder under examples/tutorials has a transcript.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podgate_netns_tests::Turn;
use podgate_netns_tests::name::unique;
use podgate_netns_tests::program::podgate;
use podgate_netns_tests::space::{Finished, finish};
use serde::Deserialize;
use serde_json::Value;

/// What a folder's `transcript.yaml` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    /// Paths that the lab is made from.
    lab: Vec<PathBuf>,
    /// More options for `lab up`.
    #[serde(default)]
    options: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    /// Commands; `podgate lab ...` is about the transcript's lab.
    #[serde(default)]
    run: Vec<String>,
    /// As `podgate lab probe --expect` reads it.
    #[serde(default)]
    expect: Vec<Value>,
    check: Option<Check>,
}

/// What `podgate check` must find, and must not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    path: Vec<PathBuf>,
    finds: Vec<String>,
    absent: Vec<String>,
}

/// What was looked at, so that nothing falls under the table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    steps: usize,
    attempts: usize,
    checks: usize,
}

fn tutorials() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tutorials")
}

#[test]
fn two_spaces_and_the_dns_trap() {
    replay("two-spaces-dns", &Count { steps: 4, attempts: 13, checks: 3 });
}

#[test]
fn the_cka_module() {
    replay("cka-module", &Count { steps: 24, attempts: 62, checks: 8 });
}

#[test]
fn the_notes_on_layers_3_and_4() {
    replay("l3-l4-notes", &Count { steps: 8, attempts: 26, checks: 2 });
}

#[test]
fn the_color_api() {
    replay("color-api", &Count { steps: 16, attempts: 39, checks: 5 });
}

#[test]
fn payments_in_production() {
    replay("payments", &Count { steps: 14, attempts: 35, checks: 6 });
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

/// A lab that goes when its transcript is through, or has failed.
struct Replay {
    name: String,
    folder: PathBuf,
}

impl Replay {
    fn podgate(&self, words: &[&str]) -> Finished {
        finish(Command::new(podgate()).args(words).current_dir(&self.folder))
    }

    /// `podgate lab ...`, about this lab.
    fn lab(&self, command: &str, words: &[&str]) -> Finished {
        let named = ["lab", command, "--name", &self.name];
        self.podgate(&[&named[..], words].concat())
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        let down = self.lab("down", &[]);
        if !std::thread::panicking() {
            assert_eq!(down.code, 0, "{}", down.stderr);
        }
    }
}

#[track_caller]
fn replay(folder: &str, all: &Count) {
    let _turn = Turn::shared();
    let folder = tutorials().join(folder);
    let text = fs::read_to_string(folder.join("transcript.yaml")).expect("a transcript");
    let transcript: Transcript = serde_saphyr::from_str(&text).expect("a transcript");
    let replay = Replay { name: unique("t"), folder };
    let paths = transcript.lab.iter().map(|path| path.to_str().expect("a path"));
    let options = transcript.options.iter().map(String::as_str);
    let up = replay.lab("up", &paths.chain(options).collect::<Vec<_>>());
    assert_eq!(up.code, 0, "{}: {}", up.line, up.stderr);
    let aside = tempfile::tempdir().expect("a directory");
    let mut count = Count::default();
    for step in &transcript.steps {
        count.steps += 1;
        for line in &step.run {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["podgate", "lab", command, rest @ ..] = &words[..] else { panic!("{}: {line}", step.name) };
            let done = replay.lab(command, rest);
            assert_eq!(done.code, 0, "{}: {line}: {}{}", step.name, done.stdout, done.stderr);
        }
        if !step.expect.is_empty() {
            let file = aside.path().join("expect.yaml");
            fs::write(&file, serde_json::to_string(&step.expect).expect("JSON")).expect("a file");
            let probed = replay.lab("probe", &["--expect", file.to_str().expect("a path")]);
            assert_eq!(probed.code, 0, "{}:\n{}{}", step.name, probed.stdout, probed.stderr);
            count.attempts += step.expect.len();
        }
        if let Some(check) = &step.check {
            let paths = check.path.iter().map(|path| path.to_str().expect("a path"));
            let checked =
                replay.podgate(&["check", "-o", "json"].into_iter().chain(paths).collect::<Vec<_>>());
            let has = |code: &String| {
                checked.stdout.contains(&format!("\"{code}\"")) || checked.stderr.contains(code.as_str())
            };
            let missing: Vec<_> = check.finds.iter().filter(|code| !has(code)).collect();
            let extra: Vec<_> = check.absent.iter().filter(|code| has(code)).collect();
            assert!(
                missing.is_empty() && extra.is_empty(),
                "{}: missing {missing:?}, extra {extra:?}:\n{}{}",
                step.name,
                checked.stdout,
                checked.stderr
            );
            count.checks += 1;
        }
    }
    assert_eq!(&count, all);
}
