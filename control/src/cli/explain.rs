//! `podgate explain`: why one connection is allowed or denied.

use std::io::Write;

use clap::Args;

use super::status::Format;
use super::survey::{SourceArgs, headline, json};
use super::{Failure, Outcome};
use crate::service::ServiceMode;
use crate::tools::Judge;
use crate::tools::explain::{EndName, PortQuery, ask, render};

/// Say why a connection is allowed or denied, and what would allow it, from manifests alone or as a
/// running gateway has it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  podgate explain examples/first-look --from shop/frontend --to shop/db --port 5432\n  \
    podgate explain pods/ policies/ --from 203.0.113.7 --to shop/frontend --port http\n  \
    podgate explain manifests/ --from node:node-1 --to shop/db --port icmp -o json\n  \
    podgate explain manifests/ --from shop/frontend --to svc:shop/api --port 80\n  \
    podgate explain --name lab --from shop/frontend --to shop/db --port 5432\n\n\
    Exit code: 0 allowed, 1 denied, 2 bad usage or input.\n\
    The port is that of the pod, and of the Service where --to is one (svc:NAMESPACE/NAME or its address):\n\
    then every backend is asked about, at its own port. With --services off, as where kube-proxy translates,\n\
    the Service's address is asked about, too."
)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// With files: whether the gateway translates connections to Services; a gateway with --name knows.
    #[arg(long, value_enum, value_name = "MODE", conflicts_with = "name")]
    services: Option<ServiceMode>,
    /// Who opens the connection: NAMESPACE/POD or a workload, node:NAME or an address.
    #[arg(long, value_name = "END")]
    from: EndName,
    /// To whom: NAMESPACE/POD or a workload, svc:NAMESPACE/NAME, node:NAME or an address.
    #[arg(long, value_name = "END")]
    to: EndName,
    /// The destination port: 80/TCP, 53/UDP, the name it has on the pod or Service, or icmp.
    #[arg(long, value_name = "PORT")]
    port: PortQuery,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &ExplainArgs) -> Outcome {
    let mut survey = args.source.survey()?;
    survey.services = survey.services.or(args.services);
    let judge = Judge::new(&survey.cluster)?;
    let answers = ask(&survey, &judge, &args.from, &args.to, &args.port)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => json(&mut out, &survey, &answers)?,
        Format::Table => {
            out.write_all(headline(&survey).as_bytes())?;
            out.write_all(render(&answers).as_bytes())?;
        }
    }
    if answers.allowed { Ok(()) } else { Err(Failure::Code(1)) }
}
