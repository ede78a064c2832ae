//! A command of the runtime, from its start to what it prints.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::configuration::version_of;
use super::sandbox::outside;
use super::{CniError, Code, Command, Configuration, Container, Mode, PLUGIN, Settings, Version};
use crate::api::{Attachment, AttachmentName, Client, ClientError, CniAnswer, CniRefusal, ValidAttachments};

/// Between two attempts to reach a gateway that is not there.
const RETRY_EVERY: Duration = Duration::from_millis(50);
/// What is only told, and not needed, waits no longer than this.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// Runs the plugin: by the environment and standard input of the process, as the CNI specification has it.
pub fn main() -> ExitCode {
    let Ok(command) = std::env::var("CNI_COMMAND") else {
        println!("{}", about());
        return ExitCode::SUCCESS;
    };
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    let outcome = read
        .map_err(|error| CniError::new(Code::Io, format!("network configuration (standard input): {error}")))
        .and_then(|_| run(&command, &text, |name| std::env::var(name).ok()));
    match outcome {
        Ok(output) => {
            print!("{output}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{PLUGIN}: {error}");
            println!("{}", error.to_json(version_of(&text)));
            ExitCode::FAILURE
        }
    }
}

fn about() -> String {
    let versions = Version::ALL.map(Version::name).join(", ");
    format!(
        "{PLUGIN} {}, a CNI plugin: a pod starts when the podgate gateway guards its port.\n\n\
         Container runtimes run it, as the last plugin of a network; \"podgate cni install\" sees to that.\n\
         It speaks CNI {versions}. Its entry may have \"socket\" (where the gateway answers), \"timeout\" (\"5s\")\n\
         and \"mode\" (\"closed\": a pod that cannot be guarded does not start; \"open\": it does).",
        env!("CARGO_PKG_VERSION")
    )
}

/// Does what `command` says; returns what goes to standard output.
fn run(command: &str, text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, CniError> {
    match Command::from_name(command)? {
        Command::Version => Ok(versions(text)),
        Command::Del => {
            // Whatever is wrong: a container that goes is not to be kept, nor what other plugins hold for it.
            if let Err(error) = del(text, variable) {
                eprintln!("{PLUGIN}: {error}");
            }
            Ok(String::new())
        }
        Command::Add => add(text, variable),
        Command::Check => {
            let configuration = since(Version::V0_4_0, "CHECK", text)?;
            let container = Container::from_variables(variable)?;
            let checked = block_on(async {
                let attachment = attachment(&configuration, &container).await?;
                let client = Client::new(&configuration.settings.socket);
                guarded(patiently(&configuration.settings, || client.cni_check(&attachment)).await?)
            });
            lenient(checked, configuration.settings.mode).map(|()| String::new())
        }
        Command::Status => {
            let configuration = since(Version::V1_1_0, "STATUS", text)?;
            lenient(block_on(status(&configuration.settings)), configuration.settings.mode)
                .map(|()| String::new())
        }
        Command::Gc => {
            let configuration = since(Version::V1_1_0, "GC", text)?;
            let Some(valid) = configuration.valid else {
                let message = "network configuration (standard input): field \"cni.dev/valid-attachments\" is missing; \
                     without it, nothing can be forgotten";
                return Err(CniError::new(Code::Configuration, message));
            };
            let valid = ValidAttachments { network: configuration.network, valid };
            let client = Client::new(&configuration.settings.socket);
            // A gateway that is away forgets by itself, at its start, what is gone by then.
            told(block_on(async { Ok(timeout(TELL_WITHIN, client.cni_gc(&valid)).await) })?);
            Ok(String::new())
        }
    }
}

fn add(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, CniError> {
    let configuration = Configuration::from_text(text)?;
    let container = Container::from_variables(variable)?;
    let Some(previous) = &configuration.previous else {
        let message = format!(
            "network {}: {PLUGIN} was told of no interface (\"prevResult\"): it has to come after the plugin that \
             makes one, in a list of plugins (.conflist)",
            configuration.network
        );
        return Err(CniError::new(Code::Configuration, message));
    };
    let Settings { mode, .. } = configuration.settings;
    let added = block_on(async {
        let attachment = attachment(&configuration, &container).await?;
        let client = Client::new(&configuration.settings.socket);
        guarded(patiently(&configuration.settings, || client.cni_add(&attachment)).await?)
    });
    lenient(added, mode)?;
    Ok(format!("{}\n", previous.in_version(configuration.version)))
}

fn del(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<(), CniError> {
    let configuration = Configuration::from_text(text)?;
    let Container { id, interface, .. } = Container::from_variables(variable)?;
    let name = AttachmentName { network: configuration.network, container_id: id, interface };
    let client = Client::new(&configuration.settings.socket);
    let within = TELL_WITHIN.min(configuration.settings.timeout);
    told(block_on(async { Ok(timeout(within, client.cni_del(&name)).await) })?);
    Ok(())
}

async fn status(settings: &Settings) -> Result<(), CniError> {
    let client = Client::new(&settings.socket);
    let not_available = |why: String| {
        CniError::new(
            Code::NotAvailable,
            format!("podgate cannot guard pods now, and none is started: {why}"),
        )
    };
    match timeout(TELL_WITHIN.min(settings.timeout), client.cni_status()).await {
        Ok(Ok(readiness)) => readiness.not_ready.map_or(Ok(()), |why| Err(not_available(why))),
        Ok(Err(error)) => Err(not_available(away(&error, None))),
        Err(_) => Err(not_available(silent(settings))),
    }
}

/// What the gateway is told of an interface.
async fn attachment(configuration: &Configuration, container: &Container) -> Result<Attachment, CniError> {
    let Some(netns) = &container.netns else {
        let message = "CNI_NETNS is not set in the environment: the runtime has to set it to the path of the \
             container's network namespace";
        return Err(CniError::new(Code::Environment, message));
    };
    let outside = outside(Path::new(netns), &container.interface).await?;
    let addresses = configuration.previous.as_ref().map(|previous| previous.addresses(&container.interface));
    Ok(Attachment {
        name: AttachmentName {
            network: configuration.network.clone(),
            container_id: container.id.clone(),
            interface: container.interface.clone(),
        },
        netns: netns.display().to_string(),
        pod: container.pod.as_ref().map(ToString::to_string),
        uid: container.uid.clone(),
        addresses: addresses.unwrap_or_default(),
        device: outside.name,
        device_index: outside.device,
        peer_index: outside.peer.index,
        netns_number: outside.peer.netns_id.unwrap_or(-1),
    })
}

/// Asks until there is an answer, or the time is over: a gateway that is being replaced is away for a moment.
async fn patiently<T, F>(settings: &Settings, ask: impl Fn() -> F) -> Result<T, CniError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut last = None;
    let asked = async {
        loop {
            match ask().await {
                Err(error @ (ClientError::Connect { .. } | ClientError::Broken { .. })) => last = Some(error),
                other => return other,
            }
            sleep(RETRY_EVERY).await;
        }
    };
    match timeout(settings.timeout, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(CniError::new(Code::TryAgain, away(&error, Some(settings.timeout)))),
        Err(_) => {
            let why = last.map_or_else(|| silent(settings), |error| away(&error, Some(settings.timeout)));
            Err(CniError::new(Code::TryAgain, why))
        }
    }
}

/// `asked` is for how long, if more than once.
fn away(error: &ClientError, asked: Option<Duration>) -> String {
    match error {
        ClientError::Connect { path, source } => {
            let asked = asked.map(|asked| format!(", asked for {}", humantime::format_duration(asked)));
            format!(
                "no podgate gateway answers at {} ({source}){}: see to it that podgate runs on this node, or name its \
                 socket in the entry of {PLUGIN} (\"socket\"); the runtime tries again by itself",
                path.display(),
                asked.unwrap_or_default()
            )
        }
        other => other.to_string(),
    }
}

fn silent(settings: &Settings) -> String {
    format!(
        "the podgate gateway at {} did not answer within {}; the runtime tries again by itself (\"timeout\" in the \
         entry of {PLUGIN} allows more)",
        settings.socket.display(),
        humantime::format_duration(settings.timeout)
    )
}

fn guarded(answer: CniAnswer) -> Result<(), CniError> {
    match answer {
        CniAnswer::Guarded { .. } => Ok(()),
        CniAnswer::Refused { refusal, reason } => Err(CniError::new(
            match refusal {
                CniRefusal::NoPort => Code::NoPort,
                CniRefusal::NotGuarded => Code::NotGuarded,
                CniRefusal::Differs => Code::Differs,
            },
            reason,
        )),
    }
}

/// In open mode, what is not guarded is told and let be.
fn lenient(outcome: Result<(), CniError>, mode: Mode) -> Result<(), CniError> {
    match (outcome, mode) {
        (Err(error), Mode::Open) => {
            eprintln!("{PLUGIN}: {error}; the pod is not guarded (mode open)");
            Ok(())
        }
        (outcome, _) => outcome,
    }
}

/// Nobody listening is no failure.
fn told<T, E>(outcome: Result<Result<T, ClientError>, E>) {
    match outcome {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => eprintln!("{PLUGIN}: {error}"),
        Err(_) => eprintln!("{PLUGIN}: the podgate gateway does not answer"),
    }
}

/// A configuration of a version that has the command.
fn since(first: Version, command: &str, text: &str) -> Result<Configuration, CniError> {
    let configuration = Configuration::from_text(text)?;
    if configuration.version >= first {
        return Ok(configuration);
    }
    let message = format!(
        "the network configuration is of CNI version {} (\"cniVersion\"), which has no {command}; {} has",
        configuration.version.name(),
        first.name()
    );
    Err(CniError::new(Code::IncompatibleVersion, message))
}

/// What VERSION answers, in the version that was asked in.
fn versions(text: &str) -> String {
    let told = serde_json::json!({
        "cniVersion": version_of(text).name(),
        "supportedVersions": Version::ALL.map(Version::name),
    });
    format!("{told}\n")
}

/// One thread is all it takes, and the quickest to have.
fn block_on<T>(work: impl Future<Output = Result<T, CniError>>) -> Result<T, CniError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CniError::new(Code::Io, format!("cannot start: {error}")))?.block_on(work)
}

#[cfg(test)]
mod tests;
