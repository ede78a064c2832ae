//! Connection attempts in a lab, and what becomes of them.
//!
//! ```text
//! target   what is connected to, as it is written
//! resolver whom a host asks for names, by its resolv.conf
//! question a question to DNS, and what its answer says
//! names    a name's addresses, asked for as a program in the pod would
//! choice   which of them are tried
//! socket   sockets in the pod
//! told     what the gateway tells of the attempts
//! expect   what must become of them
//! attempt  one attempt
//! ```

mod attempt;
mod choice;
mod expect;
mod names;
mod question;
mod resolver;
mod socket;
mod target;
mod told;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Lab, LabError};

pub use expect::{ExpectError, Expectation, read_expectations};
pub use target::{Target, TargetError};

/// Attempts under way at the same time.
const AT_ONCE: usize = 64;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was answered.
    Allowed,
    /// Nothing came back.
    Dropped,
    /// Its packets came there, and nobody listens; or the Service has nobody behind it.
    Refused,
    /// Nothing came back to the question for the name.
    DnsBlocked,
    /// The question for the name was refused, or answered with a failure.
    DnsFailed,
    /// There is no such name.
    NoSuchName,
    /// It could not be made, or ended in another way; `why` says how.
    Failed,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Who: a pod as `NAMESPACE/NAME`, an external host by its name, or `node`.
    pub from: String,
    /// To whom.
    pub to: Target,
}

/// An attempt and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempted {
    /// Who.
    pub from: String,
    /// To whom, as it was asked for.
    pub to: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in the gateway's words; what else was seen where it had none.
    pub why: String,
    /// The policies behind it.
    pub policies: Vec<String>,
    /// The address that was tried; of a name's several, the one that answered, else the preferred one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The pod that it came to or was to come to, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// Makes all attempts, each with that much patience; in the order given. Only a gateway that tells nothing is an
/// error: what goes wrong with an attempt is what became of it.
pub async fn probe(
    lab: &Lab,
    attempts: Vec<Attempt>,
    patience: Duration,
) -> Result<Vec<Attempted>, LabError> {
    let told = Arc::new(told::Told::follow(&lab.client()).await?);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (number, attempt) in attempts.into_iter().enumerate() {
        let (lab, told, turns) = (lab.clone(), Arc::clone(&told), Arc::clone(&turns));
        running.spawn(async move {
            // Never closed.
            let _turn = turns.acquire().await;
            (number, attempt::attempt(&lab, &told, attempt, patience).await)
        });
    }
    let mut done = Vec::new();
    while let Some(attempted) = running.join_next().await {
        let (number, attempted) =
            attempted.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        done.push((number, attempted));
    }
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, attempted)| attempted).collect())
}

impl Outcome {
    /// Its one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
            Self::DnsBlocked => "dns-blocked",
            Self::DnsFailed => "dns-failed",
            Self::NoSuchName => "no-such-name",
            Self::Failed => "failed",
        }
    }
}
