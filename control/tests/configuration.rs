//! `podgate config`, completions and manual pages, as somebody runs them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn podgate(words: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PODGATE_")) {
        command.env_remove(name);
    }
    let output = command.args(words).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Values and source of every option that is shown.
fn shown(words: &[&str], environment: &[(&str, &str)]) -> impl Fn(&str) -> (String, String) {
    let said = podgate(&[&["config", "show", "-o", "json"], words].concat(), environment);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let options: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    move |key| {
        let option = options.iter().find(|option| option["option"] == key).unwrap_or_else(|| panic!("{key}"));
        let values = option["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap());
        let source =
            format!("{} {}", option["source"].as_str().unwrap(), option["place"].as_str().unwrap_or(""));
        (values.collect::<Vec<_>>().join(" "), source.trim().to_owned())
    }
}

fn told(values: &str, source: &str) -> (String, String) {
    (values.into(), source.into())
}

#[test]
fn flag_environment_file_and_default_count_in_this_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("podgate.yaml");
    fs::write(&file, "workers: 2\nheavy-pps: 2\nbridge: of-the-file\nlog: debug\n").unwrap();
    let file = file.to_str().unwrap();
    let environment = [
        ("PODGATE_CONFIG", file),
        ("PODGATE_WORKERS", "3"),
        ("PODGATE_HEAVY_PPS", "3"),
        ("PODGATE_FLOWS", "70000"),
    ];
    let option = shown(&["--workers", "4"], &environment);
    assert_eq!(option("workers"), told("4", "flag"));
    assert_eq!(option("heavy-pps"), told("3", "environment PODGATE_HEAVY_PPS"));
    assert_eq!(option("flows"), told("70000", "environment PODGATE_FLOWS"));
    assert_eq!(option("bridge"), told("of-the-file", &format!("file {file}:3")));
    assert_eq!(option("log"), told("debug", &format!("file {file}:4")));
    assert_eq!(option("broadcast-pps"), told("400", "default"));
    assert_eq!(option("node"), told("", "none"));
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shown.yaml");
    let words = [
        "--bridge",
        "cni0",
        "--cpus",
        "1,2",
        "--timeout",
        "icmp=5s",
        "--manifests",
        "/a b",
        "--name",
        "true",
    ];
    let first = podgate(&[&["config", "show"][..], &words].concat(), &[]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    fs::write(&file, &first.stdout).unwrap();
    let checked = podgate(&["config", "check", file.to_str().unwrap()], &[]);
    assert_eq!(checked.code, Some(0), "{}{}", first.stdout, checked.stderr);
    let again = podgate(&["config", "show", "--config", file.to_str().unwrap()], &[]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(&again.stdout), values(&first.stdout));
    assert!(first.stdout.contains("cpus: [\"1\", \"2\"]"), "{}", first.stdout);
}

#[test]
fn a_file_with_mistakes_is_shown_with_the_place_marked_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("podgate.yaml");
    fs::write(&file, "bridge: cni0\nmanifest: /etc/podgate/manifests\nfallback: ajar\n").unwrap();
    let file = file.to_str().unwrap();
    for words in
        [&["config", "check", file][..], &["run", "--config", file], &["config", "show", "--config", file]]
    {
        let said = podgate(words, &[]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{words:?}");
        let (first, second) = (format!("{file}:2"), format!("{file}:3"));
        for expected in [
            "manifest: there is no such option",
            "did you mean manifests?",
            "fallback: \"ajar\" is no value for it",
            "use one of closed, open",
            first.as_str(),
            second.as_str(),
        ] {
            assert!(said.stderr.contains(expected), "{words:?}: {expected}\n{}", said.stderr);
        }
    }
}

#[test]
fn a_filter_that_cannot_be_is_refused() {
    let said = podgate(&["status", "--log", "info,x=loud"], &[]);
    assert!(said.code == Some(2) && said.stderr.contains("--log"), "{}", said.stderr);
    let said = podgate(&["status"], &[("PODGATE_LOG", "a=b=c")]);
    assert!(said.code == Some(2) && said.stderr.contains("a=b=c"), "{}", said.stderr);
}

#[test]
fn every_shell_gets_a_completion_that_knows_the_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = podgate(&["completions", shell], &[]);
        assert_eq!(said.code, Some(0), "{shell}: {}", said.stderr);
        for word in ["wait", "listen", "config", "live-connections"] {
            assert!(said.stdout.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    let said = podgate(&["man", "--dir", dir.to_str().unwrap()], &[]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let page =
        |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for name in ["podgate.1", "podgate-run.1", "podgate-wait.1", "podgate-config-show.1", "podgate-lab-up.1"]
    {
        assert!(page(name).contains(".SH NAME"), "{name}");
    }
    assert!(page("podgate-run.1").contains("PODGATE_HEAVY_PPS"));
    assert!(said.stdout.starts_with(&fs::read_dir(Path::new(&dir)).unwrap().count().to_string()));
}
