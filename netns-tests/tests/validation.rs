//! What the API server accepts and rejects, podgate accepts and rejects: as a new object, and as
//! one that is stored already. Where it rejects, it names the same fields, in the same order, and
//! says the same.

use podgate_control::verify::{Report, read, verify};
use podgate_netns_tests::cases::directory;

#[test]
fn manifests_are_judged_as_by_the_api_server() {
    let files = read(&[directory().join("validation.yaml")]).unwrap();
    let cases = &files.validations[0].validation.cases;
    let texts = |errors: &Vec<String>| errors.len();
    let strict: usize = cases.iter().map(|case| texts(&case.errors)).sum();
    let lenient: usize = cases.iter().filter_map(|case| case.errors_lenient.as_ref()).map(texts).sum();
    assert_eq!((strict, lenient), (45, 0));
    let expected = Report { cases: 1, checks: 48, manifests: 48, ..Report::default() };
    assert_eq!(verify(&files).unwrap(), expected);
}

/// What is rejected is to be rejected for these reasons, and what is accepted is to be accepted.
#[test]
fn a_verdict_turned_round_is_found() {
    let mut files = read(&[directory().join("validation.yaml")]).unwrap();
    for case in &mut files.validations[0].validation.cases {
        case.valid = !case.valid;
        case.errors = if case.valid { Vec::new() } else { vec!["spec: Required value".to_owned()] };
        case.errors_lenient = None;
    }
    let report = verify(&files).unwrap();
    assert_eq!((report.checks, report.failures.len()), (48, 48));
}
