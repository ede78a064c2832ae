//! What the offline tools print is what `tests/expected` holds, letter by letter.
//!
//! Each file there is a session: command lines that start with `$ podgate`, each with what it
//! printed and its exit code. `PODGATE_WRITE_EXPECTED=1` writes them anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[test]
fn the_tools_print_what_they_did() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut differing = Vec::new();
    for path in paths {
        let expected = fs::read_to_string(&path).unwrap();
        let commands = expected.lines().filter(|line| line.starts_with("$ podgate "));
        let printed: String = commands.map(session).collect::<Vec<_>>().join("\n");
        if env::var_os("PODGATE_WRITE_EXPECTED").is_some() {
            fs::write(&path, &printed).unwrap();
        } else if printed != expected {
            differing.push(format!("{}:\n{printed}", path.display()));
        }
    }
    assert!(differing.is_empty(), "other than expected:\n\n{}", differing.join("\n"));
}

#[test]
fn every_tool_is_shown_on_every_example() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let examples = fs::read_dir(workspace.join("examples")).unwrap().map(|entry| entry.unwrap());
    let examples = examples.filter(|entry| entry.file_type().unwrap().is_dir());
    let examples: Vec<String> = examples.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(examples.len() >= 3);
    for tool in ["check", "connectivity", "diff", "explain"] {
        let file = workspace.join("control/tests/expected").join(tool).with_extension("txt");
        let session = fs::read_to_string(file).unwrap();
        for example in &examples {
            let has = session.lines().any(|line| {
                line.starts_with(&format!("$ podgate {tool} "))
                    && line.split([' ', '/']).any(|word| word == example)
            });
            assert!(has, "{tool} is not shown on examples/{example}");
        }
    }
}

#[test]
fn the_guide_shows_what_the_tools_print() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/offline-tools.md");
    let guide = fs::read_to_string(guide).unwrap();
    let blocks = guide.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut seen = 0;
    for block in blocks.filter(|block| block.starts_with("$ podgate ")) {
        let block = block.replace("\\\n", "");
        let line: Vec<&str> = block.lines().next().unwrap().split_whitespace().collect();
        let printed = session(&line.join(" "));
        let printed = printed.split("(exit code").next().unwrap();
        let shown = block.split_once('\n').unwrap().1;
        assert_eq!(printed.split_once('\n').unwrap().1, shown, "{line:?}");
        seen += 1;
    }
    assert_eq!(seen, 5);
}

/// A command line, what it prints on both streams, and its exit code if that is not 0.
fn session(line: &str) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let words = line.split_whitespace().skip(2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    command.args(words).current_dir(workspace).env("NO_COLOR", "1").env("COLUMNS", "100");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut printed = format!("{line}\n{}{}", text(&output.stdout), text(&output.stderr));
    match output.status.code() {
        Some(0) => {}
        code => printed.push_str(&format!("(exit code {})\n", code.unwrap_or(-1))),
    }
    printed
}
