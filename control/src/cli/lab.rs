//! `podgate lab`: a node and its pods as network namespaces, with the gateway running on it.

mod change;
mod create;
mod get;
mod input;
mod kind;
mod probe;
mod rows;
mod selector;
mod shown;
mod target;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::gateway_args::GatewayArgs;
use super::status::Format;
use super::survey::refused;
use super::{Failure, Outcome, block_on, table};
use crate::agent::{self, Paths};
use crate::lab::{
    Attachment, ClusterDns, ExternalSpec, Lab, LabError, LabHost, LabOptions, ListenPort, Protocol, left_out,
    nameserver, pod_specs, responder, unheeded,
};
use crate::model::Cluster;
use crate::source::{Directory, Strictness, Workloads, raw_objects, read_manifests};

pub(super) use crate::lab::nameserver::Arguments as NameserverArgs;
pub(super) use crate::lab::responder::Arguments as ResponderArgs;

/// A node and its pods as network namespaces, with the gateway running on it: real packets, no cluster.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Example:\n  podgate lab up examples/first-look\n  \
    podgate lab exec shop/frontend -- curl -m 1 http://10.244.1.20/\n  podgate observe --verdict dropped\n  \
    podgate lab down"
)]
pub(super) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    Up(UpArgs),
    Exec(ExecArgs),
    Probe(probe::ProbeArgs),
    Apply(change::ApplyArgs),
    Delete(change::DeleteArgs),
    Create(create::CreateArgs),
    Run(create::RunArgs),
    Label(change::LabelArgs),
    Scale(change::ScaleArgs),
    Sync(change::SyncArgs),
    Get(get::GetArgs),
    Services(get::ServicesArgs),
    List(ListArgs),
    Down(DownArgs),
}

/// Build a lab from manifests and start the gateway on it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate lab up examples/first-look --cpus 1\n\n\
    Each Pod, and each pod that a Deployment or another workload asks for, becomes a namespace on\n\
    the node's bridge, with the address of its manifest or one of 10.244.0.0/16 and\n\
    fd00:244::/64, and answers on its containerPorts with its name. Each Service gets addresses of\n\
    10.96.0.0/16 and fd00:96::/112 unless its manifest has some, and is found by its name: a pod\n\
    kube-system/kube-dns serves it. The manifests are watched: edit a policy and it is in force.\n\
    'podgate lab sync' makes pods that are new in them; 'podgate lab\n\
    apply', 'delete', 'label' and 'scale' change the lab and leave the files alone.")]
struct UpArgs {
    /// Files and directories of Kubernetes manifests.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The lab's name, and its gateway's.
    #[arg(long, default_value = "lab", value_name = "NAME", env = "PODGATE_NAME")]
    name: String,
    /// Whether names of Services and pods are served, by a pod kube-system/kube-dns at 10.96.0.10.
    #[arg(long, value_enum, default_value_t = Dns::On)]
    dns: Dns,
    /// A host outside the cluster, behind the node, such as internet=203.0.113.10; it answers HTTP on ports 80 and
    /// 443. May be given again.
    #[arg(long, value_name = "NAME=ADDRESS[,ADDRESS]", value_parser = external)]
    external: Vec<ExternalSpec>,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Reads `NAME=ADDRESS[,ADDRESS]`.
fn external(text: &str) -> Result<ExternalSpec, String> {
    let (name, addresses) = text.split_once('=').ok_or("write NAME=ADDRESS[,ADDRESS]")?;
    let addresses = addresses.split(',').map(|address| {
        address.parse().map_err(|_| format!("{address:?} is no IP address; write NAME=ADDRESS[,ADDRESS]"))
    });
    let port = |port| ListenPort { port, protocol: Protocol::Tcp };
    Ok(ExternalSpec {
        name: name.to_owned(),
        addresses: addresses.collect::<Result<_, _>>()?,
        ports: vec![port(80), port(443)],
        attachment: Attachment::Routed,
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Dns {
    /// Pods ask the lab's DNS.
    On,
    /// Pods ask where the machine does.
    Off,
}

/// Run a program in a pod.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  podgate lab exec shop/frontend -- ping -c 1 10.244.1.20\n  \
    podgate lab exec -n shop deploy/web -- curl -m 1 http://10.96.0.11/\n\n\
    As with kubectl, deploy/web and svc/web mean the first ready pod behind them. The exit code is the\n\
    program's. 'node' runs it on the node.")]
struct ExecArgs {
    #[command(flatten)]
    lab: LabName,
    /// The namespace of a pod that is named without one.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The pod (NAMESPACE/POD, POD, pod/POD, deploy/NAME, svc/NAME), or 'node'.
    #[arg(value_name = "POD")]
    pod: String,
    /// Accepted as kubectl has it: the program has this terminal and standard input anyway.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// The same.
    #[arg(short = 't', long)]
    tty: bool,
    /// Ignored: a pod is one network namespace, and no container of it is run.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// The program and its arguments.
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// List labs and their pods.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate lab list\n  podgate lab list -o json")]
struct ListArgs {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Take a lab down: processes, programs, pins and namespaces, whatever state they are in.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate lab down\n  podgate lab down --all")]
struct DownArgs {
    #[command(flatten)]
    lab: LabName,
    /// Every lab.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Where gateways keep their files.
    #[arg(long, default_value = "/run/podgate", value_name = "DIR", env = "PODGATE_RUN_DIR")]
    run_dir: PathBuf,
}

#[derive(Debug, Args)]
struct LabName {
    /// The lab; may be left out where there is only one.
    #[arg(long, value_name = "NAME", env = "PODGATE_NAME")]
    name: Option<String>,
}

impl LabName {
    fn chosen(&self) -> anyhow::Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let mut names = Lab::list()?;
        match names.len() {
            0 => Err(anyhow!("there is no lab; build one with 'podgate lab up PATH...' (as root)")),
            1 => Ok(names.remove(0)),
            _ => Err(anyhow!("there are several labs ({}); choose one with --name", names.join(", "))),
        }
    }
}

pub(super) fn run(args: LabArgs) -> Outcome {
    match args.command {
        LabCommand::Up(args) => up(&args),
        LabCommand::Exec(args) => exec(&args),
        LabCommand::Probe(args) => probe::run(&args),
        LabCommand::Apply(args) => change::apply(&args),
        LabCommand::Delete(args) => change::delete(&args),
        LabCommand::Create(args) => create::create(&args),
        LabCommand::Run(args) => create::run(&args),
        LabCommand::Label(args) => change::label(&args),
        LabCommand::Scale(args) => change::scale(&args),
        LabCommand::Sync(args) => change::sync(&args),
        LabCommand::Get(args) => get::run(&args),
        LabCommand::Services(args) => get::services(&args),
        LabCommand::List(args) => list(&args),
        LabCommand::Down(args) => down(&args),
    }
}

/// The hidden command that runs in each pod.
pub(super) fn respond(args: &ResponderArgs) -> std::process::ExitCode {
    responder::run(args)
}

/// The hidden command that runs in pods that serve DNS.
pub(super) fn serve_names(args: &NameserverArgs) -> std::process::ExitCode {
    nameserver::run(args)
}

fn up(args: &UpArgs) -> Outcome {
    let directory = Directory::new(args.paths.clone())
        .with_workloads(Workloads::Replicas)
        .with_strictness(args.gateway.strictness());
    let (loaded, _) = directory.load_traced().map_err(|failed| refused(&failed))?;
    for note in &loaded.notes {
        eprintln!("note: {note}");
    }
    let texts = directory.texts_now().unwrap_or_default();
    let written = texts.iter().flat_map(|(_, text)| raw_objects(&String::from_utf8_lossy(text)));
    for note in left_out(&loaded.cluster).into_iter().chain(written.filter_map(|object| unheeded(&object))) {
        eprintln!("note: {note}");
    }
    let mut specs = pod_specs(&loaded.cluster);
    eprintln!("note: images are not run: in each pod a small server answers on the declared containerPorts");
    check_name_is_free(&args.name, &args.gateway.run_dir)?;
    let dns = (args.dns == Dns::On).then(|| ClusterDns::plan(&loaded.cluster));
    let mut options = LabOptions { externals: args.external.clone(), ..LabOptions::default() };
    if let Some(dns) = &dns {
        specs = pod_specs(&with_dns(loaded.cluster, dns));
        options.nameservers.clone_from(&dns.nameservers);
    }
    let lab = block_on(Lab::up(&args.name, &specs, &options))??;
    if let Err(error) = start_programs(&lab, args, dns.as_ref()) {
        // Half a lab is no lab.
        block_on(Lab::take_down(&args.name, &args.gateway.run_dir))??;
        return Err(failed(error));
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "lab {} is up: {} pods on {}, the gateway is running",
        args.name,
        specs.len(),
        lab.bridge()
    )?;
    out.write_all(render_pods(&[(args.name.clone(), lab.pods().cloned().collect())]).as_bytes())?;
    let name = if args.name == "lab" { String::new() } else { format!(" --name {}", args.name) };
    if let Some(pod) = lab.pods().find(|pod| !pod.serves_dns) {
        writeln!(out, "\ntry:  podgate lab exec{name} {} -- ping -c 1 ADDRESS", pod.reference)?;
    }
    writeln!(out, "      podgate observe{name} --follow\n      podgate lab down{name}")?;
    Ok(())
}

/// The user's objects with those that the lab's DNS adds.
fn with_dns(mut cluster: Cluster, dns: &ClusterDns) -> Cluster {
    let reading = read_manifests(&dns.manifests, Path::new("kube-dns.yaml"), Strictness::New);
    reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
    cluster
}

/// The gateway, and what serves DNS.
fn start_programs(lab: &Lab, args: &UpArgs, dns: Option<&ClusterDns>) -> Result<(), LabError> {
    let mut paths = args.paths.clone();
    if let Some(dns) = dns {
        paths.extend(dns.write(lab)?);
    }
    let mut arguments = lab.set_manifests(&paths)?;
    lab.start_nameservers(&arguments)?;
    arguments.extend(args.gateway.to_arguments().into_iter().map(OsString::from));
    lab.start_gateway(&args.gateway.run_dir, &arguments)
}

fn exec(args: &ExecArgs) -> Outcome {
    let lab = Lab::open(&args.lab.chosen()?)?;
    let pod = target::resolve(&lab, &args.pod, args.namespace.as_deref())?;
    if let Some(container) = &args.container {
        eprintln!("note: container {container} is not looked for: a pod of a lab is one network namespace");
    }
    run_in(&lab, &pod, &args.command)
}

/// Runs a program in a host; its exit code is this one's.
fn run_in(lab: &Lab, host: &str, words: &[String]) -> Outcome {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    let status = lab.exec(host, command)?;
    match status.code().or_else(|| Some(128 + status.signal()?)) {
        Some(0) => Ok(()),
        code => Err(Failure::Code(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
    }
}

/// Bad manifests are shown where they stand.
fn failed(error: LabError) -> Failure {
    match error {
        LabError::Manifests(untraced) => refused(&untraced),
        error => error.into(),
    }
}

#[derive(Serialize)]
struct ListedPod<'a> {
    lab: &'a str,
    pod: &'a str,
    addresses: &'a [std::net::IpAddr],
    netns: &'a Path,
    device: &'a str,
    mac: Option<String>,
    ports: &'a [ListenPort],
}

fn list(args: &ListArgs) -> Outcome {
    let mut labs = Vec::new();
    for name in Lab::list()? {
        // One that is half built has no pods to show; `lab down` takes it away.
        let hosts = Lab::open(&name).map(|lab| lab.pods().cloned().collect()).unwrap_or_default();
        labs.push((name, hosts));
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Table => out.write_all(render_pods(&labs).as_bytes())?,
        Format::Json => {
            let pods: Vec<_> = labs
                .iter()
                .flat_map(|(lab, hosts)| hosts.iter().map(move |host| listed(lab, host)))
                .collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&pods)?)?;
        }
    }
    Ok(())
}

fn listed<'a>(lab: &'a str, host: &'a LabHost) -> ListedPod<'a> {
    ListedPod {
        lab,
        pod: &host.reference,
        addresses: &host.addresses,
        netns: &host.netns,
        device: &host.host_device,
        mac: host.mac.map(|mac| mac.to_string()),
        ports: &host.ports,
    }
}

fn render_pods(labs: &[(String, Vec<LabHost>)]) -> String {
    let join = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(" ");
    let mut rows = Vec::new();
    for (lab, hosts) in labs {
        if hosts.is_empty() {
            rows.push([lab.clone(), "(incomplete; take it down)".into(), String::new(), String::new()]);
        }
        for host in hosts {
            rows.push([
                lab.clone(),
                host.reference.clone(),
                join(&mut host.addresses.iter().map(ToString::to_string)),
                join(&mut host.ports.iter().map(ToString::to_string)),
            ]);
        }
    }
    table::render(["LAB", "POD", "ADDRESSES", "ANSWERS ON"], &rows)
}

fn down(args: &DownArgs) -> Outcome {
    let names = if args.all { Lab::list()? } else { vec![args.lab.chosen()?] };
    if names.is_empty() {
        println!("there is no lab");
    }
    let there = Lab::list()?;
    for name in names {
        // A gateway of that name, if there is one, is not a lab's.
        if !there.contains(&name) {
            println!("there is no lab {name}; nothing was done");
            continue;
        }
        // Where its gateway was told to keep its files, whatever is said here.
        let run_dir = Lab::gateway_run_dir(&name).unwrap_or_else(|| args.run_dir.clone());
        block_on(Lab::take_down(&name, &run_dir))??;
        println!("lab {name} is down; nothing of it is left");
    }
    Ok(())
}

/// That the lab's gateway can have the lab's name: a gateway that runs on a real bridge, or the
/// guard it has left, is not to be taken for the lab's own, now or by `lab down`.
fn check_name_is_free(name: &str, run_dir: &Path) -> anyhow::Result<()> {
    agent::check_name(name)?;
    let dir = Paths::new(run_dir, name).dir();
    if dir.exists() && !Lab::list()?.iter().any(|lab| lab == name) {
        bail!(
            "there is a gateway named {name} already ({}), which is no lab's; choose another --name, or take \
             it down first (podgate detach --name {name})",
            dir.display()
        );
    }
    Ok(())
}
