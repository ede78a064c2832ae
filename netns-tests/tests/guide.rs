//! The guide to labs, typed in as it is printed: docs/getting-started-lab.md from its first `#` prompt to its last.
//!
//! All of it is one session of a shell in a sandbox of its own, with a `/tmp` of its own. What is shown
//! below a command must be among what it prints, but for numbers; `...` stands for anything.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podgate_netns_tests::Turn;
use podgate_netns_tests::program::podgate;
use podgate_netns_tests::space::finish;

/// What stands between the answers of two commands.
const MARK: &str = "=== the command's exit code is";

/// A command of the guide.
struct Entry {
    command: String,
    /// What is shown below it.
    shown: Vec<String>,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The commands at root's prompt, and the files that they need.
fn read(guide: &str) -> (Vec<Entry>, Vec<(String, String)>) {
    let (mut entries, mut files): (Vec<Entry>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    let parts: Vec<&str> = guide.split("```").collect();
    for pair in parts.chunks_exact(2) {
        let [text, block] = pair else { continue };
        let (kind, lines) = block.split_once('\n').expect("a block has lines");
        if kind == "yaml"
            && let Some((_, path)) = text.rsplit_once("this as `/tmp/")
            && let Some((path, ":\n\n")) = path.split_once('`')
        {
            files.push((format!("/tmp/{path}"), lines.to_owned()));
        }
        if kind != "console" {
            continue;
        }
        for line in lines.lines() {
            match (line.strip_prefix("# "), entries.last_mut()) {
                (Some(command), _) => entries.push(Entry { command: command.to_owned(), shown: Vec::new() }),
                // Unprivileged commands build and install.
                (None, Some(entry)) if !line.starts_with("$ ") => entry.shown.push(line.to_owned()),
                _ => {}
            }
        }
    }
    (entries, files)
}

impl Entry {
    /// Whether it goes on until it is told to end.
    fn stays(&self) -> bool {
        [" -- ncat -l", "--follow", "tcpdump"].iter().any(|words| self.command.contains(words))
    }

    /// Whether the guide says that it fails.
    fn fails(&self) -> bool {
        self.shown.iter().any(|line| line.starts_with("curl: (")) || self.command.contains("-- ping ")
    }
}

fn script(entries: &[Entry], files: &[(String, String)]) -> String {
    let path = podgate().parent().expect("a directory").display();
    let mut script = format!("mount -t tmpfs guide /tmp\nPATH={path}:$PATH\nexec 2>&1\n");
    for (file, text) in files {
        let _ = writeln!(script, "cat > {file} <<'END'\n{text}END");
    }
    for entry in entries {
        let command = &entry.command;
        let _ = if entry.stays() {
            writeln!(script, "timeout 2 {command} </dev/null || true")
        } else {
            writeln!(script, "{command}")
        };
        let _ = writeln!(script, "echo \"{MARK} $?\"");
        if command.starts_with("sed ") {
            // The gateway follows within a moment, which the reader takes to type.
            let not = if command.contains("Selectr/podSelector") { "! " } else { "" };
            let _ = writeln!(
                script,
                "timeout 20 bash -c 'until {not}podgate status | grep -q ALARM; do sleep 0.05; done'"
            );
        }
    }
    script
}

/// Without its numbers.
fn plain(line: &str) -> String {
    let mut plain = line.replace(|letter: char| letter.is_ascii_digit(), "0");
    while plain.contains("00") {
        plain = plain.replace("00", "0");
    }
    plain
}

#[test]
fn the_guide_works_as_it_is_printed() {
    let _turn = Turn::shared();
    let guide = fs::read_to_string(repository().join("docs/getting-started-lab.md")).expect("the guide");
    let (entries, files) = read(&guide);
    assert_eq!((entries.len(), files.len()), (31, 2), "commands and files of the guide");
    let aside = tempfile::tempdir().expect("a directory");
    let session = aside.path().join("session");
    fs::write(&session, script(&entries, &files)).expect("a file");
    let mut command = Command::new(repository().join("scripts/sandbox"));
    // Read before /tmp is another one.
    command.args(["bash", "-c", "eval \"$(cat \"$0\")\""]).arg(&session).current_dir(repository());
    let printed = finish(&mut command).stdout;
    let mut answers = printed.split(MARK);
    let mut before = answers.next().expect("an answer");
    for entry in &entries {
        let after = answers.next().unwrap_or_else(|| panic!("it ended at {}:\n{printed}", entry.command));
        let (code, rest) = after.split_once('\n').expect("a line");
        assert_eq!(code.trim() != "0", entry.fails(), "{}: exit code{code}\n{before}", entry.command);
        for shown in entry.shown.iter().filter(|line| *line != "...") {
            let is_there = before.lines().any(|line| plain(line).contains(&plain(shown)));
            assert!(is_there, "{}: {shown:?} is not in\n{before}", entry.command);
        }
        before = rest;
    }
}
