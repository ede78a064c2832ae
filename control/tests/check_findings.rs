//! Every finding is documented, and its examples are true: the first one has it, the second one,
//! its remedy, has not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use podgate_control::tools::check::{CheckOptions, Checked, Code, Level, check, mistakes};
use podgate_control::tools::{Judge, Survey};

/// A part of the documentation under one heading.
struct Section<'a> {
    heading: &'a str,
    examples: Vec<String>,
}

#[test]
fn every_finding_has_an_example_and_a_remedy() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/check.md")).unwrap();
    let sections = sections(&page);
    let base = &sections.iter().find(|section| section.heading == "The findings").unwrap().examples[0];
    for code in Code::all() {
        let start = format!("{} {} (", code.id(), code.name());
        let section = sections.iter().find(|section| section.heading.starts_with(&start)).expect(&start);
        let [wrong, right] = &section.examples[..] else { panic!("{start} has other than two examples") };
        let found = found(&[base, wrong]);
        assert!(has(&found, code), "{start} is not found in its example: {found:#?}");
        let level =
            found.findings.iter().filter(|finding| finding.code == code).map(|finding| finding.level).max();
        let word = level.map_or("", |level| match level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        });
        assert!(section.heading[start.len()..].starts_with(word), "{start} is of level {word}");
        let mended = self::found(&[base, right]);
        assert!(!has(&mended, code), "{start} is found after its remedy: {mended:#?}");
        // Remedies of one mistake make no other.
        let worst = mended.findings.iter().filter(|finding| finding.level > Level::Info);
        let worst: Vec<_> = worst.filter(|finding| finding.code != Code::EGRESS_WITHOUT_DNS).collect();
        assert!(worst.is_empty(), "{start} leaves {worst:#?}");
    }
    let known: BTreeSet<&str> = Code::all().map(Code::id).collect();
    let written = sections.iter().filter_map(|section| section.heading.split(' ').next());
    let written: BTreeSet<&str> = written.filter(|word| word.starts_with("PG")).collect();
    assert_eq!(written, known);
}

#[test]
fn a_finding_is_suppressed_where_it_is_meant() {
    let policy = |comment: [&str; 4], annotation: &str| {
        let [document, above, beside, elsewhere] = comment;
        format!(
            "{document}\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: x\n  \
             annotations: {{podgate/ignore: \"{annotation}\"}}\nspec:\n  podSelector: {{}}\n  policyTypes: [Egress] \
             {elsewhere}\n  egress:\n  {above}\n  - to:\n    - ipBlock: {{cidr: 0.0.0.0/0}} {beside}\n"
        )
    };
    let comment = "# podgate: ignore PG014, PG999 because it may";
    let cases = [
        (policy(["", "", "", ""], ""), true),
        (policy([comment, "", "", ""], ""), false),
        (policy(["# podgate: ignore PG014\n\n# A crawler.\n---\n# It may.", "", "", ""], ""), false),
        (policy(["", comment, "", ""], ""), false),
        (policy(["", "", comment, ""], ""), false),
        (policy(["", "", "# podgate: ignore PG014", ""], ""), false),
        (policy(["", "", "", comment], ""), true),
        (policy(["", "", "", ""], "PG001, PG014"), false),
        (policy(["", "", "", ""], "PG001"), true),
    ];
    for (text, expected) in cases {
        let found = found(&[&text]);
        assert_eq!(has(&found, Code::EGRESS_ANYWHERE), expected, "{text}\n{found:#?}");
        assert_eq!(found.suppressed > 0, !expected, "{text}\n{found:#?}");
        assert_eq!(has(&found, Code::NEEDLESS_SUPPRESSION), text.contains("PG999"), "{text}");
    }
}

#[test]
fn a_block_of_a_service_is_found_unless_it_covers_its_pods() {
    let cluster = "apiVersion: v1\nkind: Pod\nmetadata: {name: db, namespace: x, labels: {app: db}}\n\
                   status: {podIP: 10.1.0.5}\n---\napiVersion: v1\nkind: Service\n\
                   metadata: {name: db, namespace: x}\n";
    let policy = |direction: &str, peers: &str, cidr: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec:\n  \
             podSelector: {{}}\n  policyTypes: [Ingress, Egress]\n  {direction}:\n  - {peers}: [{{ipBlock: {{cidr: \
             {cidr}}}}}]\n"
        )
    };
    let selected = "spec: {clusterIP: 10.96.0.7, selector: {app: db}, ports: [{port: 5432}]}\n";
    let by_slices = "spec: {clusterIP: 10.96.0.7, ports: [{port: 5432}]}\n";
    let cases = [
        (selected, policy("egress", "to", "10.96.0.7/32"), true),
        (selected, policy("egress", "to", "10.96.0.0/12"), true),
        (selected, policy("egress", "to", "10.96.0.8/32"), false),
        (selected, policy("egress", "to", "10.0.0.0/8"), false),
        (selected, policy("ingress", "from", "10.96.0.7/32"), false),
        (by_slices, policy("egress", "to", "10.96.0.7/32"), false),
    ];
    for (service, policy, expected) in cases {
        let found = found(&[&format!("{cluster}{service}"), &policy]);
        assert_eq!(has(&found, Code::BLOCK_OF_SERVICE), expected, "{service}{policy}{found:#?}");
    }
}

fn has(checked: &Checked, code: Code) -> bool {
    checked.findings.iter().any(|finding| finding.code == code)
}

/// What is found in these texts, each a file.
fn found(texts: &[&str]) -> Checked {
    let directory = tempfile::tempdir().unwrap();
    for (number, text) in texts.iter().enumerate() {
        fs::write(directory.path().join(format!("{number}.yaml")), text).unwrap();
    }
    match Survey::read([directory.path()]) {
        Err(failed) => mistakes(&failed),
        Ok(survey) => {
            let judge = Judge::new(&survey.cluster).unwrap();
            check(&survey, &judge, &CheckOptions::default()).unwrap()
        }
    }
}

/// The headings of a page, each with the YAML below it.
fn sections(page: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut example: Option<String> = None;
    for line in page.lines() {
        match (&mut example, line) {
            (Some(_), "```") => {
                let text = example.take().unwrap_or_default();
                sections.last_mut().expect("a heading comes first").examples.push(text);
            }
            (Some(text), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, "```yaml") => example = Some(String::new()),
            (None, line) if line.starts_with('#') => {
                let heading = line.trim_start_matches('#').trim();
                sections.push(Section { heading, examples: Vec::new() });
            }
            (None, _) => {}
        }
    }
    sections
}
