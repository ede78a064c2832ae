//! What can go wrong with a lab, and what to do about it.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use super::EditError;
use crate::agent::DetachError;
use crate::api::ClientError;
use crate::net::NetError;
use crate::source::{SourceError, Untraced};

/// A lab could not be brought up, used or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A name cannot be used.
    #[error("{name:?} cannot name a {what}: {problem}")]
    BadName {
        /// The name as given.
        name: String,
        /// What it was to name.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two pods or external hosts go by one name.
    #[error("{name} is asked for twice; names must differ")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Two hosts have one address.
    #[error("{second} has the address {address} that {first} has already; give it another, or none")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        first: String,
        /// Who was to have it too.
        second: String,
    },
    /// An address no host can have.
    #[error("{host} cannot have the address {address}: it is {problem}")]
    BadAddress {
        /// The host.
        host: String,
        /// The address.
        address: IpAddr,
        /// What kind of address it is.
        problem: &'static str,
    },
    /// There are more pods than addresses.
    #[error("no address is left in {subnet}; take down some pods, or give them addresses of their own")]
    NoAddressLeft {
        /// The subnet that is full.
        subnet: String,
    },
    /// A port that cannot be read.
    #[error("{text:?} is no port; write it as 80/TCP, 53/UDP or 7/SCTP")]
    BadPort {
        /// The text as given.
        text: String,
    },
    /// The lab is up.
    #[error("lab {lab} is up already; `podgate lab down --name {lab}` takes it down")]
    AlreadyUp {
        /// The lab.
        lab: String,
    },
    /// Half a lab is there, left by one that was interrupted.
    #[error("lab {lab} was left unfinished; `podgate lab down --name {lab}` clears it away")]
    Unfinished {
        /// The lab.
        lab: String,
    },
    /// Someone else is at work on the lab.
    #[error(
        "lab {lab} is being changed, brought up or taken down by another process; try again when it is done"
    )]
    Busy {
        /// The lab.
        lab: String,
    },
    /// There is no such lab.
    #[error("there is no lab {lab}; `podgate lab list` shows those there are")]
    NoSuchLab {
        /// The lab.
        lab: String,
    },
    /// There is no such host in the lab.
    #[error("lab {lab} has no {host}; it has node, {}", some(there))]
    NoSuchHost {
        /// The lab.
        lab: String,
        /// The name as given.
        host: String,
        /// Those it has, as they are to be named.
        there: Vec<String>,
    },
    /// A program of that role is running.
    #[error("lab {lab} has a {role} already, process {pid}; stop it first")]
    RoleTaken {
        /// The lab.
        lab: String,
        /// The role.
        role: String,
        /// Its process.
        pid: u32,
    },
    /// The lab's directory could not be read or written.
    #[error("{path}: cannot {operation}: {source}")]
    Record {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What the lab's directory holds makes no sense.
    #[error(
        "{path} is not a lab's record: {source}; remove the lab's namespaces with `ip netns`, then its directory"
    )]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Where it makes no sense.
        source: serde_json::Error,
    },
    /// A responder did not start.
    #[error("the responder of {host} did not start: {reason}")]
    Responder {
        /// Whose it is.
        host: String,
        /// What it said, or what became of it.
        reason: String,
    },
    /// A process could not be looked at or stopped.
    #[error("process {pid}: cannot {operation}: {source}")]
    Process {
        /// Its number.
        pid: u32,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The gateway did not start.
    #[error("the gateway of lab {lab} did not start:\n{log}")]
    Gateway {
        /// The lab.
        lab: String,
        /// What it logged.
        log: String,
    },
    /// What a gateway has left could not be taken down.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// Bringing up failed, and so did undoing it.
    #[error(
        "{cause}; and undoing what was done failed: {undoing}; `podgate lab down --name {lab}` tries again"
    )]
    NotUndone {
        /// The lab.
        lab: String,
        /// What failed first.
        cause: Box<Self>,
        /// What failed then.
        undoing: Box<Self>,
    },
    /// The manifests of the lab, as they would be, are bad.
    #[error("{}", told(&.0.errors))]
    Manifests(Untraced),
    /// An address that a running pod cannot take.
    #[error(
        "{pod} has {now} in the lab, and its manifest now asks for {wanted}; delete the pod and apply it again"
    )]
    Readdressed {
        /// The pod.
        pod: String,
        /// Its addresses.
        now: String,
        /// Those it is to have.
        wanted: String,
    },
    /// The manifests of two, one of them a Service's, have one address.
    #[error("{one} and {other} both have the address {address}; give one of them another, or none")]
    ServiceAddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        one: String,
        /// Who has it, too.
        other: String,
    },
    /// A Service needs a family of addresses that the lab is without.
    #[error(
        "Service {service} asks for an {family} address, and no pod of this lab has one: give it other ipFamilies \
         (and PreferDualStack, not RequireDualStack), or a pod an address"
    )]
    NoSuchFamily {
        /// The Service.
        service: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// A pod has an address out of the Services' range.
    #[error(
        "{pod} has the address {address}, which lies in {range}: a lab's Services get theirs from there; give the          pod another"
    )]
    PodAmongServices {
        /// The pod.
        pod: String,
        /// Its address.
        address: IpAddr,
        /// The range.
        range: String,
    },
    /// What is to be changed is not what it should be.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The gateway cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The gateway did not take a change over; everything is as it was.
    #[error("the gateway of lab {lab} has not put the change in force, and all is as it was: {why}")]
    NotInForce {
        /// The lab.
        lab: String,
        /// Its alarms.
        why: String,
    },
    /// Something about a namespace or device.
    #[error(transparent)]
    Net(#[from] NetError),
}

fn told(errors: &[SourceError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// So many names are listed in a message.
const LISTED: usize = 20;

fn some(names: &[String]) -> String {
    let mut text = names[..names.len().min(LISTED)].join(", ");
    if let Some(more) = names.len().checked_sub(LISTED).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more (`podgate lab list`)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_not_there_is_told_with_those_that_are() {
        let error = |count: usize| {
            let there = (0..count).map(|number| format!("a/pod{number}")).collect();
            LabError::NoSuchHost { lab: "lab".into(), host: "a/b".into(), there }.to_string()
        };
        assert_eq!(error(2), "lab lab has no a/b; it has node, a/pod0, a/pod1");
        assert!(error(20).ends_with("a/pod19"), "{}", error(20));
        assert!(error(23).ends_with("a/pod19 and 3 more (`podgate lab list`)"), "{}", error(23));
    }
}
