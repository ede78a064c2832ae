//! A lab in which the steps of a transcript are done, one after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use podgate_netns_tests::name::unique;
use podgate_netns_tests::program::{PATIENCE, podgate};
use podgate_netns_tests::space::{Finished, finish};
use podgate_netns_tests::{Space, Turn, wait_until};

use crate::talk::Talk;
use crate::transcript::{Check, Step, Told, Transcript};
use crate::tutorials;

/// What was looked at, so that nothing falls under the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub steps: usize,
    pub attempts: usize,
    pub checks: usize,
    /// Looks at connections that stay open.
    pub live: usize,
    pub told: usize,
}

/// A lab that goes when its transcript is through, or has failed.
struct Replay {
    name: String,
    folder: PathBuf,
    transcript: Transcript,
    talks: BTreeMap<String, Talk>,
    count: Count,
}

#[track_caller]
pub fn replay(folder: &str, all: &Count) {
    let _turn = Turn::shared();
    let folder = tutorials().join(folder);
    let mut transcript = Transcript::read(&folder);
    let steps = std::mem::take(&mut transcript.steps);
    let (talks, count) = (BTreeMap::new(), Count::default());
    let mut replay = Replay { name: unique("t"), folder, transcript, talks, count };
    replay.up(&[]);
    for step in &steps {
        replay.step(step);
    }
    assert_eq!(&replay.count, all);
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

    fn up(&self, more: &[String]) {
        let paths = self.transcript.lab.iter().map(|path| path.to_str().expect("a path"));
        let options = self.transcript.options.iter().chain(more).map(String::as_str);
        let up = self.lab("up", &paths.chain(options).collect::<Vec<_>>());
        assert_eq!(up.code, 0, "{}: {}", up.line, up.stderr);
    }

    fn step(&mut self, step: &Step) {
        self.count.steps += 1;
        if let Some(options) = &step.again {
            self.talks.clear();
            let down = self.lab("down", &[]);
            assert_eq!(down.code, 0, "{}: {}", step.name, down.stderr);
            self.up(options);
        }
        if !step.node.is_empty() {
            let node = Space::open(&format!("pg-{}-node", self.name));
            for line in &step.node {
                node.sh(line);
            }
        }
        for open in &step.open {
            self.talks.insert(open.name.clone(), Talk::open(&self.name, open));
        }
        for line in &step.run {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["podgate", "lab", command, rest @ ..] = &words[..] else { panic!("{}: {line}", step.name) };
            let done = self.lab(command, rest);
            assert_eq!(done.code, 0, "{}: {line}: {}{}", step.name, done.stdout, done.stderr);
        }
        for live in &step.live {
            let talk =
                self.talks.get_mut(&live.name).unwrap_or_else(|| panic!("no connection {}", live.name));
            assert_eq!(talk.fate(live.expect), live.expect, "{}: {}", step.name, live.name);
            self.count.live += 1;
        }
        if !step.expect.is_empty() {
            let aside = tempfile::tempdir().expect("a directory");
            let file = aside.path().join("expect.yaml");
            fs::write(&file, serde_json::to_string(&step.expect).expect("JSON")).expect("a file");
            let probed = self.lab("probe", &["--expect", file.to_str().expect("a path")]);
            assert_eq!(probed.code, 0, "{}:\n{}{}", step.name, probed.stdout, probed.stderr);
            self.count.attempts += step.expect.len();
        }
        for told in &step.told {
            self.hear(told);
        }
        if let Some(check) = &step.check {
            self.check(&step.name, check);
        }
    }

    /// Waits until the gateway says so: it judges live flows in the background.
    fn hear(&mut self, Told { run, says, never }: &Told) {
        let words: Vec<&str> = run.split_whitespace().collect();
        let ["podgate", words @ ..] = &words[..] else { panic!("{run}") };
        wait_until(&format!("{run} says {says:?}"), PATIENCE, || {
            let printed = self.podgate(&[words, &["--name", &self.name]].concat()).stdout;
            printed.contains(says) && !never.as_ref().is_some_and(|never| printed.contains(never))
        });
        self.count.told += 1;
    }

    fn check(&mut self, step: &str, check: &Check) {
        let paths = check.path.iter().map(|path| path.to_str().expect("a path"));
        let checked = self.podgate(&["check", "-o", "json"].into_iter().chain(paths).collect::<Vec<_>>());
        let has = |code: &String| {
            checked.stdout.contains(&format!("\"{code}\"")) || checked.stderr.contains(code.as_str())
        };
        let missing: Vec<_> = check.finds.iter().filter(|code| !has(code)).collect();
        let extra: Vec<_> = check.absent.iter().filter(|code| has(code)).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{step}: missing {missing:?}, extra {extra:?}:\n{}{}",
            checked.stdout,
            checked.stderr
        );
        self.count.checks += 1;
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.talks.clear();
        let down = self.lab("down", &[]);
        if !std::thread::panicking() {
            assert_eq!(down.code, 0, "{}", down.stderr);
        }
    }
}
