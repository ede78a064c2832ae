//! What a runtime says in the environment: the command, and for which container.

use std::path::PathBuf;

use super::{CniError, Code};
use crate::model::ObjectKey;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// A container's interface was made.
    Add,
    /// It is going.
    Del,
    /// Is it as it was made?
    Check,
    /// Could one be added?
    Status,
    /// Some may have gone without a word.
    Gc,
    /// Which versions are spoken?
    Version,
}

impl Command {
    const ALL: [(&'static str, Self); 6] = [
        ("ADD", Self::Add),
        ("DEL", Self::Del),
        ("CHECK", Self::Check),
        ("STATUS", Self::Status),
        ("GC", Self::Gc),
        ("VERSION", Self::Version),
    ];

    /// From `CNI_COMMAND`.
    pub fn from_name(name: &str) -> Result<Self, CniError> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, command)| command).ok_or_else(|| {
            let known = Self::ALL.map(|(name, _)| name).join(", ");
            wrong("CNI_COMMAND", name, &format!("one of {known}"))
        })
    }
}

/// The container that a command is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Container {
    /// `CNI_CONTAINERID`.
    pub id: String,
    /// `CNI_IFNAME`: the interface in it.
    pub interface: String,
    /// `CNI_NETNS`, where it is given.
    pub netns: Option<PathBuf>,
    /// The pod, of `K8S_POD_NAMESPACE` and `K8S_POD_NAME` in `CNI_ARGS`.
    pub pod: Option<ObjectKey>,
    /// `K8S_POD_UID` in `CNI_ARGS`.
    pub uid: Option<String>,
}

impl Container {
    /// From variables of the environment.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let id = variable("CNI_CONTAINERID").unwrap_or_default();
        if !is_identifier(&id) {
            return Err(wrong(
                "CNI_CONTAINERID",
                &id,
                "letters, digits, '_', '.' and '-', a letter or digit first",
            ));
        }
        let interface = variable("CNI_IFNAME").unwrap_or_default();
        if !is_device_name(&interface) {
            return Err(wrong("CNI_IFNAME", &interface, "the name of a device, of at most 15 bytes"));
        }
        let netns = variable("CNI_NETNS").filter(|path| !path.is_empty()).map(PathBuf::from);
        let args = variable("CNI_ARGS").unwrap_or_default();
        let arg = |name: &str| {
            let mut pairs = args.split(';').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value.to_owned())
        };
        let pod = match (arg("K8S_POD_NAMESPACE"), arg("K8S_POD_NAME")) {
            (Some(namespace), Some(name)) => Some(ObjectKey::new(namespace, name)),
            _ => None,
        };
        Ok(Self { id, interface, netns, pod, uid: arg("K8S_POD_UID") })
    }
}

/// A network's or container's name, as the specification has it.
pub(super) fn is_identifier(text: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.chars().all(fits)
}

fn is_device_name(text: &str) -> bool {
    let bad = |letter: char| matches!(letter, '/' | ':' | '\0') || letter.is_whitespace();
    (1..=15).contains(&text.len()) && text != "." && text != ".." && !text.contains(bad)
}

fn wrong(variable: &str, value: &str, expected: &str) -> CniError {
    let message = if value.is_empty() {
        format!("{variable} is not set in the environment: the runtime has to set it to {expected}")
    } else {
        format!("{variable} is {value:?} in the environment; it has to be {expected}")
    };
    CniError::new(Code::Environment, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Container, CniError> {
        Container::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const ID: (&str, &str) = ("CNI_CONTAINERID", "a1-b.c_d");
    const IFNAME: (&str, &str) = ("CNI_IFNAME", "eth0");

    #[test]
    fn kubelets_arguments_name_the_pod() {
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=a1;\
            K8S_POD_UID=7f=3";
        let found = read(&[ID, IFNAME, ("CNI_NETNS", "/run/netns/x"), ("CNI_ARGS", args)]).unwrap();
        assert_eq!(found.pod, Some(ObjectKey::new("shop", "web-0")));
        assert_eq!(found.uid.as_deref(), Some("7f=3"));
        assert_eq!((found.id.as_str(), found.interface.as_str()), ("a1-b.c_d", "eth0"));
        assert_eq!(found.netns, Some("/run/netns/x".into()));
    }

    #[test]
    fn other_runtimes_name_no_pod() {
        for args in ["", ";", "K8S_POD_NAME=a", "K8S_POD_NAMESPACE=;K8S_POD_NAME=a", "FOO"] {
            let found = read(&[ID, IFNAME, ("CNI_NETNS", ""), ("CNI_ARGS", args)]).unwrap();
            assert_eq!((found.pod, found.uid, found.netns), (None, None, None), "{args}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (variables, name) in [
            (&[IFNAME][..], "CNI_CONTAINERID is not set"),
            (&[("CNI_CONTAINERID", "-a"), IFNAME], "CNI_CONTAINERID is \"-a\""),
            (&[("CNI_CONTAINERID", "a/b"), IFNAME], "CNI_CONTAINERID is \"a/b\""),
            (&[ID], "CNI_IFNAME is not set"),
            (&[ID, ("CNI_IFNAME", "..")], "CNI_IFNAME is \"..\""),
            (&[ID, ("CNI_IFNAME", "eth 0")], "CNI_IFNAME is \"eth 0\""),
            (&[ID, ("CNI_IFNAME", "a23456789012345x")], "CNI_IFNAME is"),
        ] {
            let error = read(variables).unwrap_err();
            assert_eq!(error.code, Code::Environment);
            assert!(error.message.contains(name), "{error}");
        }
        let error = Command::from_name("add").unwrap_err();
        assert!(error.message.contains("\"add\"") && error.message.contains("ADD, DEL"), "{error}");
        assert_eq!(Command::from_name("GC"), Ok(Command::Gc));
    }
}
