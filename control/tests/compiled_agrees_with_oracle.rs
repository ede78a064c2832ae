//! The compiled table says what the naive evaluator says, for every pair of addresses of random
//! clusters, and names a rule that indeed allows.

mod agreement;
mod random;

use podgate_control::compile::{Settings, compile};
use podgate_flowtable::Epoch;
use proptest::prelude::*;
use random::{cluster, locality};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_pair_of_addresses_gets_the_same_verdict(cluster in cluster(), locality in locality()) {
        let compiled = compile(&cluster, &locality, &[], Settings::new(Epoch(1), 7)).unwrap();
        agreement::agrees(&cluster, &locality, &compiled)?;
    }
}
