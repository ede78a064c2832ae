//! The handle of a lab: bring up, open, list, run programs inside, take down.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use super::build::{BRIDGE, build};
use super::plan::{LabHost, Plan, Role};
use super::record::{DEFAULT_DIRECTORY, Directory, Lock, Phase, State};
use super::respond;
use super::teardown::tear_down;
use super::{LabError, LabOptions, PodSpec, Process, Responders, etc};
use crate::net::Netns;

/// A lab that is up.
///
/// It is not bound to this handle: it stays until [`Lab::down`], from this process or another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    pub(super) directory: Directory,
    pub(super) plan: Plan,
}

impl Lab {
    /// Brings up a lab; returns when every responder listens. If anything fails, all is undone.
    pub async fn up(name: &str, pods: &[PodSpec], options: &LabOptions) -> Result<Self, LabError> {
        let directory = Directory::new(&options.directory, name)?;
        let plan = Plan::new(name, pods, options)?;
        let lock = directory.create()?;
        let mut state = State::building(plan);
        match make(&directory, &lock, &mut state, &options.responders).await {
            Ok(()) => Ok(Self { directory, plan: state.plan }),
            Err(cause) => match undo(&directory, &lock, &state).await {
                Ok(()) => Err(cause),
                Err(undoing) => Err(LabError::NotUndone {
                    lab: name.into(),
                    cause: Box::new(cause),
                    undoing: Box::new(undoing),
                }),
            },
        }
    }

    /// A lab that is up, by name.
    pub fn open(name: &str) -> Result<Self, LabError> {
        Self::open_in(Path::new(DEFAULT_DIRECTORY), name)
    }

    /// A lab that is up, among those recorded in a directory.
    pub fn open_in(labs: &Path, name: &str) -> Result<Self, LabError> {
        let directory = Directory::new(labs, name)?;
        match directory.read()? {
            Some(State { phase: Phase::Up, plan, .. }) => Ok(Self { directory, plan }),
            None if !directory.path().exists() => Err(LabError::NoSuchLab { lab: name.into() }),
            _ => match directory.lock() {
                Err(busy) => Err(busy),
                Ok(_) => Err(LabError::Unfinished { lab: name.into() }),
            },
        }
    }

    /// The names of all labs, unfinished ones included.
    pub fn list() -> Result<Vec<String>, LabError> {
        Self::list_in(Path::new(DEFAULT_DIRECTORY))
    }

    /// The names of all labs recorded in a directory.
    pub fn list_in(labs: &Path) -> Result<Vec<String>, LabError> {
        Directory::list(labs)
    }

    /// Takes the lab down. It not being there (any more) is no error.
    pub async fn down(&self) -> Result<(), LabError> {
        take_down(&self.directory).await
    }

    /// Takes a lab down by name, finished or not. It not being there is no error.
    pub async fn down_named(labs: &Path, name: &str) -> Result<(), LabError> {
        take_down(&Directory::new(labs, name)?).await
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.directory.lab()
    }

    /// Its own directory, which goes with it. Namespaces bound in there are released by `down`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The pods.
    pub fn pods(&self) -> impl Iterator<Item = &LabHost> {
        self.plan.hosts.iter().filter(|host| host.role == Role::Pod)
    }

    /// The hosts outside the cluster.
    pub fn externals(&self) -> impl Iterator<Item = &LabHost> {
        self.plan.hosts.iter().filter(|host| host.role != Role::Pod)
    }

    /// A pod as `NAMESPACE/NAME`, or an external host by its name.
    pub fn host(&self, reference: &str) -> Result<&LabHost, LabError> {
        let found = self.plan.hosts.iter().find(|host| host.reference == reference);
        found.ok_or_else(|| LabError::NoSuchHost {
            lab: self.name().into(),
            host: reference.into(),
            there: self.plan.hosts.iter().map(|host| host.reference.clone()).collect(),
        })
    }

    /// Where the node's network namespace is bound.
    pub fn node_path(&self) -> &Path {
        &self.plan.node_netns
    }

    /// The node's network namespace.
    pub fn node(&self) -> Result<Netns, LabError> {
        Ok(Netns::open_at(&self.plan.node_netns)?)
    }

    /// The name of the pods' bridge in the node's namespace.
    pub fn bridge(&self) -> &'static str {
        BRIDGE
    }

    /// The node's addresses on the bridge, IPv4 first.
    pub fn node_addresses(&self) -> [std::net::IpAddr; 2] {
        self.plan.gateway.addresses()
    }

    /// The namespace of a pod (`NAMESPACE/NAME`), an external host (its name) or the `node`.
    pub fn netns(&self, reference: &str) -> Result<Netns, LabError> {
        match reference {
            "node" => self.node(),
            _ => Ok(Netns::open_at(&self.host(reference)?.netns)?),
        }
    }

    /// Starts a program in a host's namespace; [`Lab::netns`] tells how hosts are named. In a pod it
    /// asks the lab's DNS for names, if the lab has one.
    pub fn spawn_in(&self, reference: &str, command: Command) -> Result<Child, LabError> {
        let netns = self.netns(reference)?;
        let pod = self.pods().find(|pod| pod.reference == reference);
        match pod.filter(|_| !self.plan.nameservers.is_empty()) {
            Some(pod) => {
                let etc = etc::write(&self.directory, pod, &self.plan.nameservers)?;
                Ok(netns.spawn_with_etc(command, &etc)?)
            }
            None => Ok(netns.spawn(command)?),
        }
    }

    /// The resolv.conf that programs in a host see; the machine's own in what is no pod.
    pub(super) fn resolv_conf(&self, reference: &str) -> Result<PathBuf, LabError> {
        let pod = self.pods().find(|pod| pod.reference == reference);
        match pod.filter(|_| !self.plan.nameservers.is_empty()) {
            Some(pod) => Ok(etc::write(&self.directory, pod, &self.plan.nameservers)?.join("resolv.conf")),
            None => Ok(PathBuf::from("/etc/resolv.conf")),
        }
    }

    /// Runs a program in a host's namespace, with this process' input and output, to its end.
    pub fn exec(&self, reference: &str, command: Command) -> Result<ExitStatus, LabError> {
        let mut child = self.spawn_in(reference, command)?;
        let pid = child.id();
        child.wait().map_err(|source| LabError::Process { pid, operation: "wait for it", source })
    }

    /// Starts a program in the node's namespace and records it under a role, such as `gateway`, for
    /// `down` to stop. One that was recorded and has ended gives its role up.
    pub fn spawn_in_node(&self, role: &str, command: Command) -> Result<Child, LabError> {
        let (lock, mut state) = self.locked()?;
        if let Some(process) = state.processes.get(role).filter(|process| process.is_running()) {
            let (lab, role, pid) = (self.name().into(), role.into(), process.pid);
            return Err(LabError::RoleTaken { lab, role, pid });
        }
        let mut child = self.node()?.spawn(command)?;
        let recorded = Process::identify(child.id()).and_then(|process| {
            state.processes.insert(role.into(), process);
            self.directory.write(&lock, &state)
        });
        if let Err(error) = recorded {
            // What is not recorded would outlive the lab.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok(child)
    }

    /// The running process of a role.
    pub fn process(&self, role: &str) -> Result<Option<Process>, LabError> {
        let state = self.directory.read()?.ok_or_else(|| self.gone())?;
        Ok(state.processes.get(role).filter(|process| process.is_running()).cloned())
    }

    /// Stops the process of a role, if one is running: asks, and insists after five seconds.
    pub fn stop_in_node(&self, role: &str) -> Result<(), LabError> {
        let (lock, mut state) = self.locked()?;
        if let Some(process) = state.processes.remove(role) {
            super::process::stop(&[&process], std::time::Duration::from_secs(5))?;
            self.directory.write(&lock, &state)?;
        }
        Ok(())
    }

    pub(super) fn locked(&self) -> Result<(Lock, State), LabError> {
        let lock = self.directory.lock()?.ok_or_else(|| self.gone())?;
        let state = self.directory.read()?.ok_or_else(|| self.gone())?;
        Ok((lock, state))
    }

    pub(super) fn gone(&self) -> LabError {
        LabError::NoSuchLab { lab: self.name().into() }
    }
}

async fn make(
    directory: &Directory,
    lock: &Lock,
    state: &mut State,
    responders: &Responders,
) -> Result<(), LabError> {
    directory.write(lock, state)?;
    build(&mut state.plan).await?;
    let program = match responders {
        Responders::None => None,
        Responders::Own => Some(respond::own_program()?),
        Responders::Program(path) => Some(path.clone()),
    };
    if let Some(program) = program {
        start_responders(directory, lock, state, program).await?;
    }
    state.phase = Phase::Up;
    directory.write(lock, state)
}

async fn start_responders(
    directory: &Directory,
    lock: &Lock,
    state: &mut State,
    program: PathBuf,
) -> Result<(), LabError> {
    respond::start_all(directory, lock, state, program, |state| &mut state.plan.hosts).await
}

async fn undo(directory: &Directory, lock: &Lock, state: &State) -> Result<(), LabError> {
    // Should undoing fail too, whoever tries again has to know what is known now.
    directory.write(lock, state)?;
    tear_down(directory, lock, Some(state)).await
}

async fn take_down(directory: &Directory) -> Result<(), LabError> {
    let Some(lock) = directory.lock()? else { return Ok(()) };
    let state = directory.read()?;
    tear_down(directory, &lock, state.as_ref()).await
}
