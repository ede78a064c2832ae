//! Label selectors as they are typed: `app=web,tier!=db`.

use std::str::FromStr;

use serde_json::Value;

/// What labels must be like, in all points.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Requirement {
    /// The key has one of these values.
    In(String, Vec<String>),
    /// The key is missing, or has another value.
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl FromStr for LabelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        split(text).into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

impl LabelSelector {
    /// Whether an object's `metadata.labels` are like that.
    pub(super) fn matches(&self, labels: &Value) -> bool {
        let has = |key: &String, values: &[String]| {
            labels[key.as_str()].as_str().is_some_and(|value| values.iter().any(|one| one == value))
        };
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => has(key, values),
            Requirement::NotIn(key, values) => !has(key, values),
            Requirement::Exists(key) => labels.get(key).is_some(),
            Requirement::Missing(key) => labels.get(key).is_none(),
        })
    }
}

/// At the commas that are in no list of values.
fn split(text: &str) -> Vec<&str> {
    let mut is_in_list = false;
    text.split(|letter| {
        is_in_list = (is_in_list || letter == '(') && letter != ')';
        letter == ',' && !is_in_list
    })
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let wrong =
        || format!("{text:?} is no selector; write KEY=VALUE, KEY!=VALUE, KEY, !KEY or 'KEY in (A,B)'");
    let key = |text: &str| {
        let key = text.trim();
        let is_key = !key.is_empty()
            && !key.contains(|letter: char| letter.is_whitespace() || "!=(),".contains(letter));
        if is_key { Ok(key.to_owned()) } else { Err(wrong()) }
    };
    if let Some((before, list)) = text.split_once('(') {
        let list = list.trim().strip_suffix(')').ok_or_else(wrong)?;
        let values = list.split(',').map(|value| value.trim().to_owned()).collect();
        let (name, word) = before.trim().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
        return match word {
            "in" => Ok(Requirement::In(key(name)?, values)),
            "notin" => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err(wrong()),
        };
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(name)?, vec![value.trim().to_owned()]));
    }
    match text.trim().strip_prefix('!') {
        Some(name) => Ok(Requirement::Missing(key(name)?)),
        None => Ok(Requirement::Exists(key(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_selects_what_kubectl_selects() {
        let labels = json!({"app": "web", "tier": "front"});
        for (text, is_selected) in [
            ("app=web", true),
            ("app==web", true),
            ("app=web,tier=back", false),
            ("app!=db", true),
            ("zone!=a", true),
            ("tier!=front", false),
            ("app", true),
            ("!app", false),
            ("!zone,tier", true),
            ("app in (db, web),tier in (front)", true),
            ("app notin (db,web)", false),
            ("zone notin (a)", true),
        ] {
            assert_eq!(text.parse::<LabelSelector>().unwrap().matches(&labels), is_selected, "{text}");
        }
        for text in ["", "a=b,", "=b", "a in b", "a in (b", "a within (b)", "a b"] {
            assert!(text.parse::<LabelSelector>().is_err(), "{text}");
        }
    }
}
