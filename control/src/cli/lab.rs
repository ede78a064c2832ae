//! `podgate lab`
use clap::Args;
use super::Outcome;
/// lab
#[derive(Debug, Args)]
pub(super) struct LabArgs {}
/// responder
#[derive(Debug, Args)]
pub(super) struct ResponderArgs {}
pub(super) fn run(_: LabArgs) -> Outcome { Ok(()) }
pub(super) fn respond(_: ResponderArgs) -> Outcome { Ok(()) }
