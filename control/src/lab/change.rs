//! A lab that is up becomes what an edit asks for.
//!
//! All of it or none. New pods are made first, then the overlay is written in one step, and from
//! that moment the change counts; pods that are no more are taken away when the gateway has it in
//! force. What is being done is recorded before it is: whoever comes after an interruption finishes
//! what counts and undoes what does not.

use std::time::{Duration, Instant};

use super::build::extend;
use super::record::{Changing, Lock, Phase, State};
use super::teardown::remove_hosts;
use super::{Edit, Lab, LabError, LabHost, ListenPort, PodSpec, Role, cluster_dns, pod_specs, respond};
use crate::agent::Paths;
use crate::api::{Client, ClientError, Status, Wanted};
use crate::source::{Loaded, Overlay};

/// How long the gateway may take to answer: longer than it keeps a client waiting for what it wants in
/// force.
const PATIENCE: Duration = Duration::from_secs(15);

/// The right to change a lab, and what it is now.
pub struct Change<'a> {
    lab: &'a Lab,
    lock: Lock,
    state: State,
    overlay: Overlay,
    /// The lab's objects as they are.
    pub loaded: Loaded,
    /// What they are to be.
    pub edit: Edit,
}

/// What a change has come to.
#[derive(Clone, PartialEq, Debug)]
pub struct Changed {
    /// The snapshot that has it; none if there was nothing to do.
    pub epoch: Option<u32>,
    /// From the change being written to its being in force.
    pub took: Duration,
    /// Pods that have come.
    pub came: Vec<String>,
    /// Pods that have gone.
    pub went: Vec<String>,
}

/// The pods of a lab, before and after.
struct Difference {
    coming: Vec<PodSpec>,
    going: Vec<String>,
    /// Those that answer on other ports than before.
    answering: Vec<(String, Vec<ListenPort>)>,
}

impl Lab {
    /// Begins a change; waits for one that is under way.
    pub async fn change(&self) -> Result<Change<'_>, LabError> {
        let lock = self.directory.lock_for_change()?.ok_or_else(|| self.gone())?;
        let mut state = self.directory.read()?.ok_or_else(|| self.gone())?;
        if state.phase != Phase::Up {
            return Err(LabError::Unfinished { lab: self.name().into() });
        }
        let overlay = self.read_overlay()?;
        self.settle(&lock, &mut state, overlay.revision.unwrap_or(0)).await?;
        let source = self.source()?;
        let (loaded, _) = source.with_overlay(overlay.clone()).load_traced().map_err(LabError::Manifests)?;
        let edit = self.edit_of(overlay.clone())?;
        Ok(Change { lab: self, lock, state, overlay, loaded, edit })
    }

    /// Its gateway, to be asked.
    pub fn client(&self) -> Client {
        let run_dir = Self::gateway_run_dir(self.name()).unwrap_or_else(|| "/run/podgate".into());
        Client::new(&Paths::new(&run_dir, self.name()).socket())
    }

    /// Finishes or undoes what an interrupted change has left.
    async fn settle(&self, lock: &Lock, state: &mut State, revision: u64) -> Result<(), LabError> {
        let Some(changing) = state.changing.clone() else { return Ok(()) };
        if revision >= changing.revision {
            return self.finish(lock, state, changing).await;
        }
        remove_hosts(&state.plan.node_netns, &changing.coming.iter().collect::<Vec<_>>()).await?;
        state.changing = None;
        self.directory.write(lock, state)
    }

    /// Takes away what goes, once the change counts.
    async fn finish(&self, lock: &Lock, state: &mut State, changing: Changing) -> Result<(), LabError> {
        let is_going = |host: &&LabHost| host.role == Role::Pod && changing.going.contains(&host.reference);
        let going: Vec<&LabHost> = state.plan.hosts.iter().filter(is_going).collect();
        remove_hosts(&state.plan.node_netns, &going).await?;
        state.plan.hosts.retain(|host| !is_going(&host));
        state.plan.hosts.extend(changing.coming);
        state.changing = None;
        self.directory.write(lock, state)
    }
}

/// The pods of the change that is under way.
fn coming(state: &mut State) -> &mut Vec<LabHost> {
    state.changing.as_mut().map_or(&mut state.plan.hosts, |changing| &mut changing.coming)
}

impl Change<'_> {
    /// Makes the lab what the edit asks for; returns when the gateway has it in force.
    pub async fn commit(mut self) -> Result<Changed, LabError> {
        let wanted = self.edit.clone().into_overlay();
        // Addresses are given below, to what has none of its own.
        let bare = Overlay { pods: [].into(), services: [].into(), ..wanted.clone() };
        let source = self.lab.source()?.with_overlay(bare);
        let (loaded, _) = source.load_traced().map_err(LabError::Manifests)?;
        let Difference { coming, going, answering } = self.difference(&pod_specs(&loaded.cluster))?;
        let (coming, handed_out) = self.state.plan.coming(&coming, self.state.handed_out)?;
        let mut hosts = self.state.plan.hosts.clone();
        hosts.retain(|host| !going.contains(&host.reference));
        hosts.extend(coming.iter().cloned());
        let mut overlay = Lab::addressed(wanted, &loaded, &hosts)?;
        if overlay == self.overlay && coming.is_empty() && going.is_empty() && answering.is_empty() {
            return Ok(Changed { epoch: None, took: Duration::ZERO, came: Vec::new(), went: Vec::new() });
        }
        // Nothing is begun that nobody would put in force.
        self.ask(self.lab.client().status()).await?;
        let revision = self.overlay.revision.unwrap_or(0) + 1;
        overlay.revision = Some(revision);
        let came: Vec<String> = coming.iter().map(|host| host.reference.clone()).collect();
        self.state.handed_out = handed_out;
        self.state.changing = Some(Changing { revision, coming, going: going.clone() });
        self.lab.directory.write(&self.lock, &self.state)?;
        if let Err(cause) = self.make().await {
            return Err(self.undo(cause, revision).await);
        }
        let begun = Instant::now();
        self.lab.write_overlay(&overlay)?;
        let wanted = Wanted { revision: Some(revision), pods: came.join(","), ..Wanted::default() };
        let answer = self.ask(self.lab.client().when_in_force(&wanted)).await;
        let took = begun.elapsed();
        let status = match answer {
            Ok(status) if wanted.is_met_by(&status) => status,
            answer => return Err(self.take_back(answer, revision).await),
        };
        if let Some(changing) = self.state.changing.clone() {
            self.lab.finish(&self.lock, &mut self.state, changing).await?;
        }
        self.answer_otherwise(answering).await?;
        Ok(Changed { epoch: status.epoch, took, came, went: going })
    }

    /// Asks the gateway, which may hang.
    async fn ask(
        &self,
        asking: impl Future<Output = Result<Status, ClientError>>,
    ) -> Result<Status, LabError> {
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                let why = format!("it has not answered within {} s", PATIENCE.as_secs());
                Err(LabError::NotInForce { lab: self.lab.name().into(), why })
            }
        }
    }

    /// Puts everything back after a change that counts already, but that the gateway did not take over.
    async fn take_back(&mut self, answer: Result<Status, LabError>, revision: u64) -> LabError {
        let cause = answer.map_or_else(
            |error| error,
            |status| LabError::NotInForce { lab: self.lab.name().into(), why: status.alarms.join("; ") },
        );
        // The one before, as a later one: what is under way must not pass for in force.
        let before = Overlay { revision: Some(revision + 1), ..self.overlay.clone() };
        match self.lab.write_overlay(&before) {
            Ok(()) => self.undo(cause, revision + 2).await,
            Err(undoing) => LabError::NotUndone {
                lab: self.lab.name().into(),
                cause: Box::new(cause),
                undoing: Box::new(undoing),
            },
        }
    }

    fn difference(&self, specs: &[PodSpec]) -> Result<Difference, LabError> {
        let hosts = &self.state.plan.hosts;
        let mut difference = Difference { coming: Vec::new(), going: Vec::new(), answering: Vec::new() };
        for spec in specs {
            let reference = spec.reference();
            let Some(host) = hosts.iter().find(|host| host.reference == reference) else {
                difference.coming.push(spec.clone());
                continue;
            };
            if !spec.addresses.is_empty() && spec.addresses != host.addresses {
                let list = |addresses: &[std::net::IpAddr]| {
                    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                };
                let (now, wanted) = (list(&host.addresses), list(&spec.addresses));
                return Err(LabError::Readdressed { pod: reference, now, wanted });
            }
            if spec.ports != host.ports {
                difference.answering.push((reference, spec.ports.clone()));
            }
        }
        let is_wanted = |host: &&LabHost| specs.iter().any(|spec| spec.reference() == host.reference);
        let pods = hosts.iter().filter(|host| host.role == Role::Pod);
        difference.going = pods.filter(|host| !is_wanted(host)).map(|host| host.reference.clone()).collect();
        Ok(difference)
    }

    /// Makes the pods that come.
    async fn make(&mut self) -> Result<(), LabError> {
        let State { plan, changing: Some(changing), .. } = &mut self.state else { return Ok(()) };
        extend(plan, &mut changing.coming).await?;
        self.start_responders().await?;
        let sources = self.lab.arguments(&self.lab.source()?);
        cluster_dns::start(&self.lab.directory, &self.lock, &mut self.state, &sources, coming)
    }

    /// Those of the pods that come.
    async fn start_responders(&mut self) -> Result<(), LabError> {
        let program = respond::own_program()?;
        respond::start_all(&self.lab.directory, &self.lock, &mut self.state, program, coming).await
    }

    /// Takes the pods that came away again. `cause` is what is told, unless that fails.
    async fn undo(&mut self, cause: LabError, revision: u64) -> LabError {
        if let Some(changing) = &mut self.state.changing {
            changing.revision = revision;
        }
        let written = self.lab.directory.write(&self.lock, &self.state);
        let undone = match written {
            Ok(()) => self.lab.settle(&self.lock, &mut self.state, 0).await,
            failed => failed,
        };
        match undone {
            Ok(()) => cause,
            Err(undoing) => LabError::NotUndone {
                lab: self.lab.name().into(),
                cause: Box::new(cause),
                undoing: Box::new(undoing),
            },
        }
    }

    /// Pods that stay, and whose manifest now declares other ports.
    async fn answer_otherwise(&mut self, answering: Vec<(String, Vec<ListenPort>)>) -> Result<(), LabError> {
        let mut others = Vec::new();
        for (reference, ports) in answering {
            let hosts = &mut self.state.plan.hosts;
            if let Some(at) = hosts.iter().position(|host| host.reference == reference) {
                let mut host = hosts.remove(at);
                super::process::stop(&host.responder.take().iter().collect::<Vec<_>>(), Duration::ZERO)?;
                host.ports = ports;
                others.push(host);
            }
        }
        if others.is_empty() {
            return Ok(());
        }
        // Only these are to be started, and all are to stay on the record meanwhile.
        let revision = self.overlay.revision.unwrap_or(0);
        self.state.changing = Some(Changing { revision, coming: others, going: Vec::new() });
        self.lab.directory.write(&self.lock, &self.state)?;
        self.start_responders().await?;
        if let Some(changing) = self.state.changing.take() {
            self.state.plan.hosts.extend(changing.coming);
        }
        self.lab.directory.write(&self.lock, &self.state)
    }
}
