//! The naive evaluator that tests compare with.
