//! What the fuzzer runs (`fuzz/`), on the inputs that it has found so far, and on some at random.
#![allow(missing_docs)]

#[path = "../fuzz/src/lib.rs"]
mod body;

use std::path::Path;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// The longest sequence at random, in bytes.
const MAX_LEN: u32 = 600;

#[test]
fn what_the_fuzzer_found_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/packets");
    let mut count = 0;
    for entry in std::fs::read_dir(&corpus).expect("a corpus") {
        let path = entry.expect("a file").path();
        // Printed if it fails.
        println!("{}", path.display());
        body::run(&std::fs::read(&path).expect("a file"));
        count += 1;
    }
    assert!(count > 100, "{count} inputs");
}

/// As many sequences as `PODGATE_FUZZ_RUNS` says, each from a seed that is printed; `PODGATE_FUZZ_SEED`
/// is the first one.
#[test]
fn anything_holds() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("PODGATE_FUZZ_SEED").unwrap_or(1);
    for seed in first..first + number("PODGATE_FUZZ_RUNS").unwrap_or(1000) {
        println!("PODGATE_FUZZ_SEED={seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut sequence = vec![0; (rng.next_u32() % MAX_LEN) as usize];
        rng.fill_bytes(&mut sequence);
        body::run(&sequence);
    }
}
