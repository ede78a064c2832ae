//! Label maps and the selectors that match them.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of one object.
pub type Labels = BTreeMap<String, String>;

/// What a requirement asks of the value under its key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operator {
    /// The key is there and its value is one of these.
    In(BTreeSet<String>),
    /// The key is absent, or its value is none of these.
    NotIn(BTreeSet<String>),
    /// The key is there, whatever its value.
    Exists,
    /// The key is absent.
    DoesNotExist,
}

/// One condition on one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
}

/// A `metav1.LabelSelector`: all requirements must hold; without any it matches everything.
///
/// Two selectors that ask the same in another order are equal, so that they can be told apart by
/// meaning when a policy table is made.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Requirement {
    /// Whether `labels` meet it (apimachinery, `labels.Requirement.Matches`: `NotIn` holds for an
    /// absent key, and an absent key is never equal to an empty value).
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl Selector {
    /// The selector `{}`.
    pub const fn everything() -> Self {
        Self { requirements: Vec::new() }
    }

    /// All of `requirements`, in any order.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_unstable();
        requirements.dedup();
        Self { requirements }
    }

    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// The requirements, sorted.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn one(key: &str, operator: Operator) -> Selector {
        Selector::new(vec![Requirement { key: key.to_owned(), operator }])
    }

    fn values(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn an_absent_key_is_neither_in_nor_equal_to_the_empty_value() {
        let absent = labels(&[("b", "1")]);
        let empty = labels(&[("a", "")]);
        let set = labels(&[("a", "1")]);
        let cases = [
            (Operator::In(values(&[""])), [false, true, false]),
            (Operator::In(values(&["1", "2"])), [false, false, true]),
            (Operator::NotIn(values(&["1"])), [true, true, false]),
            (Operator::Exists, [false, true, true]),
            (Operator::DoesNotExist, [true, false, false]),
        ];
        for (operator, expected) in cases {
            let selector = one("a", operator);
            assert_eq!(
                [&absent, &empty, &set].map(|labels| selector.matches(labels)),
                expected,
                "{selector:?}"
            );
        }
    }

    #[test]
    fn requirements_are_anded_and_their_order_does_not_matter() {
        let a = Requirement { key: "a".to_owned(), operator: Operator::Exists };
        let b = Requirement { key: "b".to_owned(), operator: Operator::DoesNotExist };
        let both = Selector::new(vec![a.clone(), b.clone()]);
        assert_eq!(both, Selector::new(vec![b.clone(), a, b]));
        assert!(both.matches(&labels(&[("a", "")])));
        assert!(!both.matches(&labels(&[("a", ""), ("b", "")])));
        assert!(!both.matches(&labels(&[])));
        assert!(Selector::everything().matches(&labels(&[])));
    }
}
