//! What must stay true of the tree itself: who imports whom, where `unsafe` is, what the
//! documentation and the help name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podgate_dataplane::verdict::DropReason;
use podgate_netns_tests::program::podgate;
use podgate_netns_tests::space::{Finished, finish};
use serde_json::Value;

/// The workspace, from the bottom up. A crate imports only from those before it.
const CRATES: [&str; 5] = ["flowtable", "dataplane", "control", "netns-tests", "benches"];

/// What the frame path does without, at any depth.
const TOO_HEAVY: [&str; 4] = ["tokio", "kube", "serde", "clap"];

/// A file longer than this is two things.
const MAX_LINES: usize = 600;

/// The one place for `unsafe`.
const RAW: &str = "dataplane/src/raw";

#[test]
fn imports_go_one_way() {
    let metadata = metadata(&["--no-deps"]);
    let mut seen = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().strip_prefix("podgate-").unwrap();
        let rank = CRATES.iter().position(|known| *known == name).unwrap();
        // Those of tests and build scripts too.
        for dependency in package["dependencies"].as_array().unwrap() {
            let Some(import) = dependency["name"].as_str().unwrap().strip_prefix("podgate-") else {
                continue;
            };
            assert!(CRATES[..rank].contains(&import), "{name} imports {import}");
        }
        seen.push(name);
    }
    seen.sort_unstable_by_key(|name| CRATES.iter().position(|known| known == name));
    assert_eq!(seen, CRATES);
}

#[test]
fn the_frame_path_stays_light() {
    let metadata = metadata(&["--filter-platform", &host()]);
    let id = |package: &Value| package["id"].as_str().unwrap().to_owned();
    let names: BTreeMap<String, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (id(package), package["name"].as_str().unwrap()))
        .collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let imports: BTreeMap<String, Vec<&str>> = nodes
        .iter()
        .map(|node| {
            let normal = |dependency: &&Value| {
                dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
            };
            let of_node = node["deps"].as_array().unwrap().iter().filter(normal);
            (id(node), of_node.map(|dependency| dependency["pkg"].as_str().unwrap()).collect())
        })
        .collect();
    for bottom in ["podgate-flowtable", "podgate-dataplane"] {
        let start = names.iter().find(|(_, name)| **name == bottom).unwrap().0.as_str();
        let mut reached = BTreeSet::from([start]);
        let mut next = vec![start];
        while let Some(package) = next.pop() {
            next.extend(imports[package].iter().filter(|import| reached.insert(import)));
        }
        assert!(reached.len() > 5, "{bottom}: {reached:?}");
        for package in reached {
            let name = names[package];
            assert!(!TOO_HEAVY.contains(&name), "{bottom} has {name} below it: cargo tree -i {name}");
        }
    }
}

#[test]
fn unsafe_stands_in_one_place_and_says_why() {
    assert!(read(&root().join("Cargo.toml")).contains("\nunsafe_code = \"deny\"\n"));
    let mut blocks = 0;
    for name in CRATES {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true\n"),
            "{name} does not take the workspace's lints"
        );
        for path in sources(name, &["rs"]) {
            let text = read(&path);
            let lines: Vec<&str> = text.lines().collect();
            let is_raw = path.starts_with(root().join(RAW));
            for (at, line) in lines.iter().enumerate() {
                let place = format!("{}:{}: {line}", path.display(), at + 1);
                let words = words(line);
                assert!(
                    is_raw || !words.contains(&"unsafe_code"),
                    "the lint is lifted in {RAW} only: {place}"
                );
                if words.contains(&"unsafe") {
                    assert!(is_raw, "unsafe stands in {RAW} only: {place}");
                    assert!(is_justified(&lines[..at]), "why is this safe? {place}");
                    blocks += 1;
                }
            }
        }
    }
    assert!(blocks > 0, "{RAW} has moved");
}

#[test]
fn the_troubleshooting_guide_lists_every_drop_reason() {
    let guide = read(&root().join("docs/observe-and-troubleshoot.md"));
    let (_, section) = guide.split_once("\n## Drop reasons\n").unwrap();
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: Vec<(&str, bool)> =
        rows.map(|(name, rest)| (name, rest.trim_start().starts_with('¹'))).collect();
    let reasons = DropReason::ALL.iter().enumerate();
    let expected: Vec<_> =
        reasons.map(|(number, reason)| (reason.name(), number < DropReason::STEERING)).collect();
    assert_eq!(listed, expected);
}

#[test]
fn every_command_shows_an_example() {
    let mut next = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = next.pop() {
        let help = run(&[&command[..], &["--help".to_owned()]].concat());
        assert_eq!(help.code, 0, "{}: {}", help.line, help.stderr);
        assert!(
            help.stdout.lines().any(|line| line.starts_with("Example")),
            "{}\n{}",
            help.line,
            help.stdout
        );
        for subcommand in subcommands(&help.stdout) {
            next.push([&command[..], &[subcommand.to_owned()]].concat());
        }
        let wrong = run(&[&command[..], &["--no-such-flag".to_owned()]].concat());
        assert_eq!(wrong.code, 2, "{}: {}", wrong.line, wrong.stdout);
        assert!(wrong.stderr.contains("--no-such-flag"), "{}: {}", wrong.line, wrong.stderr);
        seen += 1;
    }
    assert!(seen > 8, "only {seen} commands");
}

#[test]
fn files_are_one_thing_each() {
    let kinds = ["rs", "c", "h", "sh", ""];
    for path in CRATES.iter().chain(&["scripts"]).flat_map(|directory| sources(directory, &kinds)) {
        let lines = read(&path).lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_floor_plan_names_every_room() {
    for name in CRATES {
        let text = read(&root().join(name).join("src/lib.rs"));
        let doc = text.lines().map_while(|line| line.strip_prefix("//!"));
        let mut is_plan = false;
        let mut named = BTreeSet::new();
        for line in doc {
            if line.trim().starts_with("```") {
                is_plan = !is_plan;
            } else if is_plan {
                // Several names may share a line; what follows in words begins with none of them.
                let columns = line.split("  ").filter_map(|column| column.split_whitespace().next());
                named.extend(columns.map(|name| name.trim_end_matches('/')));
            }
        }
        for line in text.lines() {
            let declared = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ");
            let Some(module) = declared.and_then(|rest| rest.strip_suffix(';')) else { continue };
            assert!(named.contains(module), "the floor plan of {name}/src/lib.rs does not name {module}");
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

fn metadata(words: &[&str]) -> Value {
    let found = finish(cargo().args(["metadata", "--format-version", "1", "--locked"]).args(words));
    assert_eq!(found.code, 0, "{}: {}", found.line, found.stderr);
    serde_json::from_str(&found.stdout).unwrap()
}

/// The platform that this was built for: crates of others need not be here.
fn host() -> String {
    let found = finish(cargo().args(["-vV"]));
    let host = found.stdout.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap_or_else(|| panic!("{}: {}", found.line, found.stdout)).to_owned()
}

fn run(words: &[String]) -> Finished {
    finish(Command::new(podgate()).args(words))
}

/// Below the heading `Commands:`, a name a line, two spaces in.
fn subcommands(help: &str) -> Vec<&str> {
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = below.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

/// Files below `directory` that end in one of `kinds`.
fn sources(directory: &str, kinds: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![root().join(directory)];
    while let Some(directory) = next.pop() {
        for entry in
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                next.push(path);
            } else if kinds.contains(&path.extension().map_or("", |kind| kind.to_str().unwrap_or("?"))) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {directory}");
    found
}

/// The words of a line of code, its comment and what it quotes left out.
fn words(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let unquoted = code.split('"').step_by(2);
    unquoted.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

/// Whether the comment right above says `SAFETY:`; the statement may have begun some lines before.
fn is_justified(above: &[&str]) -> bool {
    let is_comment = |line: &&&str| line.trim_start().starts_with("//");
    let ends_another = |line: &&&str| line.is_empty() || line.ends_with([';', '{', '}']);
    let begun = above.iter().rev().skip_while(|line| !is_comment(line) && !ends_another(line));
    begun.take_while(is_comment).any(|line| line.trim_start().starts_with("// SAFETY: "))
}
