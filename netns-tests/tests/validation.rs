//! What the API server accepts and rejects, podgate accepts and rejects: as a new object, and as
//! one that is stored already. Where it rejects, it names the same fields, in the same order, and
//! says the same.

use std::path::Path;

use podgate_control::source::{Reading, Strictness, read_manifests};
use podgate_control::verify::parse_yaml;
use podgate_netns_tests::cases::directory;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    valid: bool,
    errors: Vec<String>,
    errors_lenient: Option<Vec<String>>,
    policy: serde_json::Value,
    #[serde(rename = "text_source")]
    _text_source: String,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[test]
fn manifests_are_judged_as_by_the_api_server() {
    let text = std::fs::read_to_string(directory().join("validation.yaml")).unwrap();
    let file: File = parse_yaml(&text).unwrap();
    let mut texts = 0;
    for case in &file.cases {
        let read = |strictness| read_manifests(&case.policy.to_string(), Path::new("p.yaml"), strictness);
        let (new, stored) = (read(Strictness::New), read(Strictness::Stored));
        assert_eq!(new.errors.is_empty(), case.valid, "{}: {:?}", case.name, new.errors);
        texts += agree(&case.name, &case.errors, &new);
        texts += agree(&case.name, case.errors_lenient.as_ref().unwrap_or(&case.errors), &stored);
        if case.valid {
            assert_eq!((new.manifests.len(), new.manifests), (1, stored.manifests), "{}", case.name);
        }
    }
    assert_eq!((file.cases.len(), texts), (48, 86));
}

/// Compares what was found with what the API server says; how many texts that were.
fn agree(name: &str, expected: &[String], reading: &Reading) -> usize {
    let found: Vec<String> =
        reading.errors.iter().map(|error| format!("{}: {}", error.field, error.problem)).collect();
    assert_eq!(found.len(), expected.len(), "{name}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        // Long texts are cut short in the data. Nobody generates names for what stands in a file.
        let stem = expected.trim_end_matches("...").trim_end().replace("name or generateName", "name");
        assert!(found.starts_with(&stem), "{name}:\n  {found}\n  {expected}");
    }
    expected.len()
}
