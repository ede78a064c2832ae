use std::collections::BTreeSet;

use clap::FromArgMatches;

use super::*;
use crate::cli::Command as Chosen;

/// A file with this text.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn parsed(file: &tempfile::NamedTempFile, words: &[&str]) -> Layered {
    let mut arguments: Vec<OsString> = vec!["podgate".into()];
    arguments.extend(words.iter().map(Into::into));
    arguments.extend(["--config".into(), file.path().into()]);
    parse(arguments).unwrap_or_else(|refusal| match refusal {
        Refusal::CommandLine(error) => panic!("{error}"),
        Refusal::File(failed) => panic!("{:?}", failed.errors),
    })
}

/// What is wrong with a file of that text, a line a mistake.
fn wrong(text: &str) -> Vec<String> {
    let file = file(text);
    let failed = read(file.path(), &command()).expect_err(text);
    let name = format!("{}:", file.path().display());
    failed.errors.iter().map(|error| error.to_string().replace(&name, "c.yaml:")).collect()
}

/// A value that the option takes, and not its default if there is a choice.
fn sample(option: &Arg) -> String {
    if let Some(last) = option.get_possible_values().last() {
        return last.get_name().to_owned();
    }
    if let Some(default) = option.get_default_values().first() {
        return default.to_string_lossy().into_owned();
    }
    match option.get_long().unwrap() {
        "timeout" => "icmp=7s".into(),
        "listen" => "127.0.0.1:9474".into(),
        _ => "7".into(),
    }
}

#[test]
fn every_option_of_run_is_an_entry_and_a_variable() {
    let command = command();
    let options = options(&command);
    let of_run: BTreeSet<_> = run(&command).get_arguments().filter_map(Arg::get_long).collect();
    let settable: BTreeSet<_> = options.iter().filter_map(Arg::get_long).collect();
    assert_eq!(of_run.difference(&settable).copied().collect::<Vec<_>>(), [CONFIG]);
    assert_eq!(settable.difference(&of_run).copied().collect::<Vec<_>>(), ["log", "log-format"]);
    for option in &options {
        let key = option.get_long().unwrap();
        assert_eq!(option.get_env().unwrap().to_str(), Some(variable(key).as_str()), "{key}");
        // Alone in a file, each is taken as it is on the command line.
        let file = file(&format!("{key}: {}\n", sample(option)));
        read(file.path(), &command).unwrap_or_else(|failed| panic!("{key}: {:?}", failed.errors));
        let layered = parsed(&file, &["config", "show"]);
        let origin = Origin::File { file: file.path().into(), line: 1 };
        assert_eq!(layered.origins[key], origin, "{key}");
    }
}

#[test]
fn a_flag_counts_before_the_file_and_that_before_the_default() {
    let file = file(
        "bridge: cni0\nmanifests: [/a, /b]\nworkers: 3\ncpus: [1, 2]\ntimeout: {icmp: 5s, generic: 1m}\n\
         on-exit: detach\nworkloads: true\nlog-format: json\n",
    );
    let layered = parsed(&file, &["run", "--workers", "2", "--manifests", "/c"]);
    let cli = Cli::from_arg_matches(&layered.matches).unwrap();
    let Chosen::Run(args) = cli.command else { panic!("{:?}", cli.command) };
    let options = args.options();
    assert_eq!((options.bridge.as_str(), options.workers, &options.cpus[..]), ("cni0", 2, &[1, 2][..]));
    assert_eq!(options.manifests, [PathBuf::from("/c")]);
    assert_eq!(options.flows.timeouts.icmp.as_secs(), 5);
    assert_eq!(options.flows.timeouts.generic.as_secs(), 60);
    assert_eq!(options.on_exit, crate::agent::OnExit::Detach);
    assert_eq!(options.workloads, crate::source::Workloads::Replicas);
    assert_eq!((options.broadcast_pps, options.name.as_str()), (400, "default"));
    let origin = |key: &str| layered.origins[key].clone();
    let from = |line| Origin::File { file: file.path().into(), line };
    assert_eq!([origin("workers"), origin("bridge"), origin("log-format")], [Origin::Flag, from(1), from(8)]);
    assert_eq!([origin("broadcast-pps"), origin("node")], [Origin::Default, Origin::Nowhere]);
}

#[test]
fn a_flag_for_another_source_of_policy_counts_before_the_files() {
    let file = file("bridge: cni0\nkubernetes: true\nworkers: 2\n");
    let layered = parsed(&file, &["run", "--manifests", "/c"]);
    let Chosen::Run(args) = Cli::from_arg_matches(&layered.matches).unwrap().command else { panic!() };
    let options = args.options();
    assert!(options.kubernetes.is_none() && options.workers == 2, "{options:?}");
    assert_eq!(options.manifests, [PathBuf::from("/c")]);
}

#[test]
fn mistakes_are_told_with_line_value_and_remedy() {
    assert_eq!(
        wrong("bridge: cni0\nworker: 2\n"),
        ["c.yaml:2: worker: there is no such option (did you mean workers?)"]
    );
    let told = wrong("workers: many\nfallback: ajar\ncpus: [1, x]\n");
    assert_eq!(
        told[0],
        "c.yaml:1: workers: \"many\" is no value for it: invalid digit found in string ('podgate run --help' \
         says what --workers takes)"
    );
    assert_eq!(told[1], "c.yaml:2: fallback: \"ajar\" is no value for it (use one of closed, open)");
    assert!(told[2].starts_with("c.yaml:3: cpus: \"x\" is no value for it"), "{told:?}");
    assert!(wrong("timeout: {icmp: 5}\n")[0].contains("use a number and a unit"));
    assert!(wrong("workers: [1, 2]\n")[0].contains("one value, not several"));
    assert!(wrong("cpus: {a: 1}\n")[0].contains("a list, not a mapping"));
    assert!(wrong("workloads: maybe\n")[0].contains("write true or false"));
    assert!(wrong("config: other.yaml\n")[0].contains("one file cannot name another"));
    assert_eq!(
        wrong("manifests: [/a]\nkubernetes: true\n"),
        ["c.yaml:2: kubernetes: it cannot be beside manifests, in line 1 (remove one of them)"]
    );
    assert!(wrong("kubeconfig: /a\nmanifests: [/a]\n")[0].contains("beside kubeconfig"));
    assert!(wrong("help: true\n")[0].contains("there is no such option"));
    // All of them at once.
    assert_eq!(wrong("a: 1\nb: 2\nworkers: 0x\n").len(), 3);
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let failed = read(Path::new("/nowhere/podgate.yaml"), &command()).unwrap_err();
    let told = failed.errors[0].to_string();
    assert!(told.starts_with("/nowhere/podgate.yaml: cannot be read"), "{told}");
}

#[test]
fn what_is_wrong_with_the_command_line_is_told_as_ever() {
    for words in [&["run"][..], &["run", "--bridge"], &["run", "--bridg", "x"], &["--help"], &["config"]] {
        let mut arguments: Vec<OsString> = vec!["podgate".into()];
        arguments.extend(words.iter().map(Into::into));
        assert!(matches!(parse(arguments), Err(Refusal::CommandLine(_))), "{words:?}");
    }
}

#[test]
fn the_guide_lists_every_option_with_its_variable_and_default() {
    let options = options(&command());
    let rows = options.iter().filter(|option| !option.is_hide_set()).map(|option| {
        let key = option.get_long().unwrap();
        let defaults: Vec<_> =
            option.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if defaults.is_empty() { String::new() } else { format!("`{}`", defaults.join(",")) };
        format!("| `{key}` | `{}` | {default} |", variable(key))
    });
    let rows: BTreeSet<_> = rows.collect();
    let rows = rows.into_iter().collect::<Vec<_>>().join("\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let guide = fs::read_to_string(path).unwrap();
    assert!(guide.contains(&rows), "docs/operations.md should have the rows\n{rows}");
}
