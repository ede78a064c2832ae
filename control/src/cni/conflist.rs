//! Our entry in the text of a network configuration: put in, replaced, taken out, and every other byte left.
//!
//! A configuration is somebody else's file, written by hand or by another program. It is not read and
//! written anew, which would lose its layout and what we do not understand; the places in the text are
//! found, and the text is changed there.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What our plugin is called in configurations, and its file.
pub const PLUGIN: &str = "podgate-cni";

/// The first version of the specification in which a plugin is told the result of the one before it.
const CHAINED_SINCE: (u64, u64) = (0, 3);

/// Why a text cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfProblem {
    /// It is not JSON, or not of the form that the specification gives.
    #[error("it is no network configuration: {0}")]
    Form(#[from] serde_json::Error),
    /// There is nothing to come after.
    #[error("\"plugins\" is empty: there is no plugin that podgate-cni could come after")]
    NoPlugin,
    /// Results are not handed on.
    #[error(
        "\"cniVersion\" is {version:?}, by which a plugin is not told of the interface that the one before it made; \
         0.3.0 or later is needed"
    )]
    TooOld {
        /// What it says.
        version: String,
    },
    /// Taking us out would leave nothing.
    #[error("podgate-cni is its only plugin: remove the file, or add the plugin that makes interfaces")]
    OnlyOurs,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    cni_version: Option<String>,
    #[serde(borrow)]
    plugins: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Single {
    cni_version: Option<String>,
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

/// A list (`.conflist`) with `entry`, which is JSON on one line, as our plugin's configuration: at the place
/// where we are, or at the end. `None` if that is how it is.
pub fn with_entry(text: &str, entry: &str) -> Result<Option<String>, ConfProblem> {
    let list: List = serde_json::from_str(text)?;
    check_version(list.cni_version)?;
    if let Some(ours) = list.plugins.iter().find(|plugin| is_ours(plugin)) {
        let [is, to_be] = [ours.get(), entry].map(serde_json::from_str::<serde_json::Value>);
        let is_same = is? == to_be?;
        return Ok((!is_same).then(|| replaced(text, place(text, ours), entry)));
    }
    let last = place(text, list.plugins.last().ok_or(ConfProblem::NoPlugin)?);
    let indent = indent(text, last.start);
    let separator = indent.map_or_else(|| ", ".to_owned(), |indent| format!(",\n{indent}"));
    Ok(Some(replaced(text, last.end..last.end, &format!("{separator}{entry}"))))
}

/// A list without our plugin. `None` if it is not in there.
pub fn without_entry(text: &str) -> Result<Option<String>, ConfProblem> {
    let list: List = serde_json::from_str(text)?;
    let Some(at) = list.plugins.iter().position(|plugin| is_ours(plugin)) else { return Ok(None) };
    let ours = place(text, list.plugins[at]);
    let before = at.checked_sub(1).and_then(|before| list.plugins.get(before));
    let gone = match (before, list.plugins.get(at + 1)) {
        (Some(before), _) => place(text, before).end..ours.end,
        (None, Some(after)) => ours.start..place(text, after).start,
        (None, None) => return Err(ConfProblem::OnlyOurs),
    };
    Ok(Some(replaced(text, gone, "")))
}

/// The list that a single configuration (`.conf`) becomes, with `entry` after it.
pub fn list_of(text: &str, entry: &str) -> Result<String, ConfProblem> {
    let Single { cni_version, name, kind } = serde_json::from_str(text)?;
    if kind == PLUGIN {
        return Err(ConfProblem::OnlyOurs);
    }
    let version = check_version(cni_version)?;
    let (name, version) = (serde_json::to_string(&name)?, serde_json::to_string(&version)?);
    let plugin = text.trim();
    Ok(format!(
        "{{\n  \"cniVersion\": {version},\n  \"name\": {name},\n  \"plugins\": [\n{plugin},\n    {entry}\n  ]\n}}\n"
    ))
}

fn check_version(version: Option<String>) -> Result<String, ConfProblem> {
    // What is not said is 0.1.0, as libcni has it.
    let version = version.unwrap_or_else(|| "0.1.0".into());
    let mut numbers = version.split('.').map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= CHAINED_SINCE => Ok(version),
        _ => Err(ConfProblem::TooOld { version }),
    }
}

fn is_ours(plugin: &RawValue) -> bool {
    serde_json::from_str::<Typed>(plugin.get()).is_ok_and(|plugin| plugin.kind == PLUGIN)
}

/// Where in `text` a value that was read from it stands.
fn place(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + value.get().len()
}

/// What stands before `at` on its line, if that is blank.
fn indent(text: &str, at: usize) -> Option<&str> {
    let (_, before) = text[..at].rsplit_once('\n')?;
    before.trim().is_empty().then_some(before)
}

fn replaced(text: &str, place: Range<usize>, by: &str) -> String {
    format!("{}{by}{}", &text[..place.start], &text[place.end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"type":"podgate-cni"}"#;

    /// As Flannel's manifest writes it to `10-flannel.conflist`.
    const FLANNEL: &str = r#"{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
"#;

    #[test]
    fn flannels_list_gets_one_line_and_loses_it_again() {
        let with = with_entry(FLANNEL, ENTRY).unwrap().unwrap();
        let expected = FLANNEL.replace(
            "        \"portMappings\": true\n      }\n    }\n",
            "        \"portMappings\": true\n      }\n    },\n    {\"type\":\"podgate-cni\"}\n",
        );
        assert_eq!(with, expected);
        assert_eq!(with_entry(&with, ENTRY).unwrap(), None);
        assert_eq!(without_entry(&with).unwrap().as_deref(), Some(FLANNEL));
        assert_eq!(without_entry(FLANNEL).unwrap(), None);
    }

    #[test]
    fn an_entry_with_other_options_is_replaced_where_it_is() {
        let text = "{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"bridge\"}, { \"type\": \"podgate-cni\" },{\"type\":\"tuning\"}]}";
        assert_eq!(with_entry(text, ENTRY).unwrap(), None);
        let other = r#"{"mode":"open","type":"podgate-cni"}"#;
        let changed = with_entry(text, other).unwrap().unwrap();
        assert_eq!(changed, text.replace("{ \"type\": \"podgate-cni\" }", other));
        let without = "{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"bridge\"},{\"type\":\"tuning\"}]}";
        assert_eq!(without_entry(&changed).unwrap().as_deref(), Some(without));
    }

    #[test]
    fn what_we_do_not_understand_is_left_as_it_is() {
        let text = "{ \"cniVersion\" : \"0.4.0\",\t\"x\": [1.50, {\"plugins\": []}],\n\"plugins\":[ {\"type\":\"bridge\",\"n\":1e3} ] }";
        let with = with_entry(text, ENTRY).unwrap().unwrap();
        assert_eq!(
            with,
            text.replace("\"n\":1e3}", &format!("\"n\":1e3}},\n{ENTRY}")).replace(",\n{\"type", ", {\"type")
        );
        assert_eq!(without_entry(&with).unwrap().as_deref(), Some(text));
        let first =
            "{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"podgate-cni\"}, {\"type\":\"bridge\"}]}";
        let without = "{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"bridge\"}]}";
        assert_eq!(without_entry(first).unwrap().as_deref(), Some(without));
    }

    #[test]
    fn a_single_configuration_becomes_a_list() {
        let single = "{\n  \"cniVersion\": \"0.3.1\", \"name\": \"mynet\",\n  \"type\": \"bridge\", \"isGateway\": true\n}\n";
        let list = list_of(single, ENTRY).unwrap();
        assert!(list.contains(single.trim()), "{list}");
        let read: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&read["cniVersion"], &read["name"]), (&"0.3.1".into(), &"mynet".into()));
        assert_eq!(read["plugins"][0]["isGateway"], true);
        assert_eq!(read["plugins"][1]["type"], "podgate-cni");
        assert_eq!(with_entry(&list, ENTRY).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_chained_is_refused() {
        for (text, said) in [
            ("{\"cniVersion\":\"0.2.0\",\"plugins\":[{\"type\":\"bridge\"}]}", "\"0.2.0\""),
            ("{\"plugins\":[{\"type\":\"bridge\"}]}", "\"0.1.0\""),
            ("{\"cniVersion\":\"1\",\"plugins\":[{\"type\":\"bridge\"}]}", "\"1\""),
            ("{\"cniVersion\":\"1.0.0\",\"plugins\":[]}", "empty"),
            ("{\"cniVersion\":\"1.0.0\"}", "plugins"),
            ("{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"bridge\"}]", "EOF"),
            ("", "EOF"),
        ] {
            let problem = with_entry(text, ENTRY).unwrap_err().to_string();
            assert!(problem.contains(said), "{text}: {problem}");
        }
        let problem =
            list_of("{\"cniVersion\":\"1.0.0\",\"type\":\"bridge\"}", ENTRY).unwrap_err().to_string();
        assert!(problem.contains("name"), "{problem}");
        let only = "{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"podgate-cni\"}]}";
        assert!(matches!(without_entry(only), Err(ConfProblem::OnlyOurs)));
        let single = "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"type\":\"podgate-cni\"}";
        assert!(matches!(list_of(single, ENTRY), Err(ConfProblem::OnlyOurs)));
    }
}
