//! `podgate wait`: until what was asked for is in force on this node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, timeout_at};

use super::instance::InstanceArgs;
use super::{Failure, Outcome, block_on, survey};
use crate::api::{Client, ClientError, PolicyInForce, Wanted};
use crate::model::{NetworkPolicy, ObjectKey};
use crate::source::{Object, Strictness, read_manifests};
use crate::tools::Survey;

/// How soon a gateway that does not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Wait until policies are in force on this node.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).multiple(true).args(["policy", "file", "revision"]),
    after_help = "Example:\n  podgate wait --policy shop/web\n  \
    kubectl apply -f policy.yaml && podgate wait -f policy.yaml --timeout 10s\n  \
    podgate wait --policy shop/old --deleted\n\n\
    A policy is in force once the snapshot that was compiled from it is published: the next frame of every\n\
    pod of this node is judged by it. With --policy any content of that name will do that can be applied; with\n\
    -f it has to be what the file says, defaults filled in.\n\n\
    Exit code: 0 if all of it is in force, 1 if it is not within the time."
)]
pub(super) struct WaitArgs {
    /// The policy of this name; may be given again.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    policy: Vec<ObjectKey>,
    /// The policies of this file or directory, as they are written there; may be given again.
    #[arg(short, long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// This revision of the gateway's --pod-ips file, or a later one.
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// Until those policies are no longer in force.
    #[arg(long)]
    deleted: bool,
    /// How long; 0: look once.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    instance: InstanceArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text);
    parsed.map_err(|_| "use a number and a unit, as in 500ms, 30s or 5m".into())
}

/// What a policy has to be.
#[derive(Debug)]
enum Condition {
    /// There, whatever it says.
    Present,
    /// There, and saying this.
    Like(Arc<NetworkPolicy>),
    /// Not there.
    Absent,
}

/// Where a policy stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Met,
    Missing,
    Differs,
    /// There, but what it was last changed to cannot be applied.
    NotAsWritten,
    StillThere,
}

pub(super) fn run(args: &WaitArgs) -> Outcome {
    let conditions = conditions(args)?;
    let client = Client::new(&args.instance.paths()?.socket());
    let told = block_on(wait(&client, args, &conditions))??;
    match told {
        Ok(lines) => {
            for line in lines {
                println!("{line}");
            }
            Ok(())
        }
        Err(lines) => {
            for line in lines {
                eprintln!("podgate: {line}");
            }
            let limit = humantime::format_duration(args.timeout);
            eprintln!("podgate: timed out after {limit}; 'podgate status' tells more");
            Err(Failure::Code(1))
        }
    }
}

fn conditions(args: &WaitArgs) -> Result<BTreeMap<ObjectKey, Condition>, Failure> {
    let named = args.policy.iter().map(|key| (key.clone(), Condition::Present));
    let mut conditions: BTreeMap<_, _> = named.collect();
    if !args.file.is_empty() {
        // What it remarks of pods and addresses is nothing to one who waits for policies.
        let survey = Survey::read(&args.file).map_err(|failed| survey::refused(&failed))?;
        let policies = survey.cluster.policies();
        if policies.is_empty() {
            return Err(anyhow::anyhow!("there is no NetworkPolicy in what --file names").into());
        }
        conditions
            .extend(policies.iter().map(|(key, policy)| (key.clone(), Condition::Like(Arc::clone(policy)))));
    }
    if args.deleted {
        for condition in conditions.values_mut() {
            *condition = Condition::Absent;
        }
    }
    Ok(conditions)
}

impl Condition {
    fn of(&self, found: &PolicyInForce) -> Standing {
        match (self, &found.object) {
            (Self::Present, Some(_)) if found.trouble.is_some() => Standing::NotAsWritten,
            (Self::Absent, None) | (Self::Present, Some(_)) => Standing::Met,
            (Self::Absent, Some(_)) => Standing::StillThere,
            (Self::Present | Self::Like(_), None) => Standing::Missing,
            (Self::Like(wanted), Some(object)) => {
                // As everything that is read: with its defaults filled in.
                let reading =
                    read_manifests(&object.to_string(), Path::new("the gateway"), Strictness::Stored);
                let is_it =
                    |object: &Object| matches!(object, Object::NetworkPolicy(policy) if policy == wanted);
                let same = reading.manifests.iter().any(|manifest| is_it(&manifest.object));
                if same { Standing::Met } else { Standing::Differs }
            }
        }
    }
}

/// What is in force, or at the end of the time what is not.
type Told = Result<Vec<String>, Vec<String>>;

async fn wait(
    client: &Client,
    args: &WaitArgs,
    conditions: &BTreeMap<ObjectKey, Condition>,
) -> Result<Told, ClientError> {
    let until = Instant::now() + args.timeout;
    loop {
        let asked = look(client, args.revision, conditions).await;
        let (next, told) = match asked {
            Ok((_, Ok(met))) => return Ok(Ok(met)),
            Ok((epoch, Err(unmet))) => (Some(epoch.map_or(1, |epoch| epoch + 1)), unmet),
            // It may be about to start.
            Err(error @ ClientError::Connect { .. }) => (None, vec![error.to_string()]),
            Err(error) => return Err(error),
        };
        if Instant::now() >= until {
            return Ok(Err(told));
        }
        match next {
            None => sleep(ASK_AGAIN).await,
            Some(epoch) => {
                let wanted = Wanted { epoch: Some(epoch), ..Wanted::default() };
                // An answer or none: the next look tells.
                if let Ok(Err(_)) = timeout_at(until, client.when_in_force(&wanted)).await {
                    sleep(ASK_AGAIN).await;
                }
            }
        }
    }
}

/// The snapshot in force, and what it has of what is wanted.
async fn look(
    client: &Client,
    revision: Option<u64>,
    conditions: &BTreeMap<ObjectKey, Condition>,
) -> Result<(Option<u32>, Told), ClientError> {
    let (mut met, mut unmet, mut held_back) = (Vec::new(), Vec::new(), Vec::new());
    let mut epochs = Vec::new();
    if let Some(revision) = revision {
        let status = client.status().await?;
        let found = status.revision;
        if found >= Some(revision) {
            met.push(format!("revision {} is in force on this node", found.unwrap_or_default()));
        } else {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            unmet.push(format!("revision {revision} is not in force on this node, but {found}"));
        }
        epochs.push(status.epoch);
    }
    for (key, condition) in conditions {
        let found = client.policy_in_force(key).await?;
        let snapshot = found.epoch.map_or_else(String::new, |epoch| format!(" (snapshot {epoch})"));
        let standing = condition.of(&found);
        match standing {
            Standing::Met if matches!(condition, Condition::Absent) => {
                met.push(format!("policy {key} is not in force on this node{snapshot}"));
            }
            Standing::Met => met.push(format!("policy {key} is in force on this node{snapshot}")),
            Standing::Missing => unmet.push(format!("policy {key} is not in force on this node{snapshot}")),
            Standing::Differs => unmet.push(format!(
                "policy {key} is in force on this node{snapshot}, but says something else than the file"
            )),
            Standing::NotAsWritten => {
                unmet.push(format!("policy {key} is not in force on this node as it is written{snapshot}"));
            }
            Standing::StillThere => {
                unmet.push(format!("policy {key} is still in force on this node{snapshot}"));
            }
        }
        if standing != Standing::Met {
            unmet.extend(found.trouble);
        }
        epochs.push(found.epoch);
        held_back = found.held_back;
    }
    // The oldest of the answers: nothing that came since is missed.
    let epoch = epochs.into_iter().min().flatten();
    if unmet.is_empty() {
        return Ok((epoch, Ok(met)));
    }
    unmet.extend(held_back.into_iter().map(|why| format!("held back: {why}")));
    Ok((epoch, Err(unmet)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(text: &str) -> Arc<NetworkPolicy> {
        let reading = read_manifests(text, Path::new("p.yaml"), Strictness::New);
        match reading.manifests.into_iter().next().map(|manifest| manifest.object) {
            Some(Object::NetworkPolicy(policy)) => policy,
            other => panic!("{other:?} {:?}", reading.errors),
        }
    }

    #[test]
    fn a_policy_is_compared_by_what_it_means() {
        let in_force = |ports: serde_json::Value| PolicyInForce {
            epoch: Some(3),
            revision: None,
            object: Some(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"namespace": "x", "name": "p"},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": ports}], "egress": []},
            })),
            trouble: None,
            held_back: Vec::new(),
        };
        // No policyTypes, no protocol: the defaults are the same.
        let wanted = Condition::Like(policy(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: x, name: p}\n\
             spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}\n",
        ));
        assert_eq!(wanted.of(&in_force(json!([{"port": 80, "protocol": "TCP"}]))), Standing::Met);
        assert_eq!(wanted.of(&in_force(json!([{"port": 81, "protocol": "TCP"}]))), Standing::Differs);
        let nothing = PolicyInForce { object: None, ..in_force(json!([])) };
        assert_eq!(wanted.of(&nothing), Standing::Missing);
        assert_eq!(Condition::Present.of(&nothing), Standing::Missing);
        assert_eq!(Condition::Present.of(&in_force(json!([]))), Standing::Met);
        let refused = PolicyInForce { trouble: Some("spec.later".into()), ..in_force(json!([{"port": 80}])) };
        assert_eq!(Condition::Present.of(&refused), Standing::NotAsWritten);
        assert_eq!(wanted.of(&refused), Standing::Met, "the last good one is what the file says");
        assert_eq!(Condition::Absent.of(&in_force(json!([]))), Standing::StillThere);
        assert_eq!(Condition::Absent.of(&nothing), Standing::Met);
    }
}
