//! What is probably not meant as it is written.
//!
//! ```text
//! code      what findings are called, and how bad they are
//! context   what every rule asks for: who is selected, who is a peer
//! sections  sections that have no effect
//! select    selectors that match nothing, or what policy cannot hold
//! items     one item or two
//! ports     ports that nobody has
//! blocks    ipBlocks that cover more than is meant
//! services  ipBlocks of Services
//! open      pods that no policy isolates
//! dns       DNS that was forgotten
//! extra     policies that add nothing
//! suppress  findings that are meant to be
//! ```

mod blocks;
mod code;
mod context;
mod dns;
mod extra;
mod items;
mod open;
mod ports;
mod sections;
mod select;
mod services;
mod suppress;

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

pub use self::code::{Code, Level};
use self::context::Context;
pub use self::extra::adds_nothing;
use super::report::{self, Report};
use super::{Judge, Look, Spot, Survey};
use crate::compile::CompileError;
use crate::source::{SourceError, SourceText, Untraced};

/// One thing that is probably not meant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What it is called; the code is for good.
    pub code: Code,
    /// Its name.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is wrong, with names.
    pub message: String,
    /// What to do.
    pub help: String,
    /// The object: `NetworkPolicy shop/db`.
    pub object: Option<String>,
    /// Where.
    #[serde(flatten)]
    pub spot: Option<Spot>,
}

/// What a check needs to be told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckOptions {
    /// Ranges of pod addresses, besides those of nodes.
    pub pod_nets: Vec<IpNet>,
    /// Ranges of Service addresses.
    pub service_nets: Vec<IpNet>,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Checked {
    /// By file and line.
    pub findings: Vec<Finding>,
    /// How many were suppressed.
    pub suppressed: usize,
    /// What was not looked at, and why.
    pub left_out: Vec<String>,
}

/// Looks at everything.
pub fn check(survey: &Survey, judge: &Judge, options: &CheckOptions) -> Result<Checked, CompileError> {
    let context = Context::new(survey, judge);
    let mut checked = Checked::default();
    let findings = &mut checked.findings;
    sections::check(&context, findings);
    blocks::check(&context, options, findings);
    dns::check(&context, findings);
    services::check(&context, findings);
    if survey.cluster.namespaces().len() > survey.cluster.implied_namespaces().count() {
        select::check_namespaces(&context, findings);
    } else {
        checked.left_out.push(
            "there are no namespaces among the files: what depends on their labels was not checked"
                .to_owned(),
        );
    }
    if survey.cluster.pods().is_empty() {
        checked
            .left_out
            .push("there are no pods among the files: what depends on pods was not checked".to_owned());
    } else {
        select::check_pods(&context, findings);
        items::check(&context, findings);
        ports::check(&context, findings);
        open::check(&context, findings);
        checked.left_out.extend(extra::check(&context, findings)?);
    }
    suppress::apply(survey, &mut checked);
    checked.findings.sort_by_key(order);
    Ok(checked)
}

/// Mistakes in the input, as findings.
pub fn mistakes(failed: &Untraced) -> Checked {
    let finding = |error: &SourceError| {
        let (file, field) = (error.place.file.clone(), error.field.clone());
        let whole = || Spot { file, line: 1, column: 1, field, span: 0..0 };
        Finding {
            code: Code::INVALID,
            name: Code::INVALID.name(),
            level: Level::Error,
            message: error.problem.to_string(),
            help: error.problem.remedy(),
            object: error.object.clone(),
            spot: Some(report::mistake_spot(error, &failed.texts).unwrap_or_else(whole)),
        }
    };
    Checked { findings: failed.errors.iter().map(finding).collect(), ..Checked::default() }
}

/// A finding for people to read.
pub fn render(finding: &Finding, texts: &[SourceText], look: Look) -> String {
    Report {
        level: finding.level.annotated(),
        code: Some(finding.code.id()),
        title: finding.message.clone(),
        place: finding.spot.as_ref().and_then(|spot| report::place(texts, spot)),
        help: &finding.help,
    }
    .render(look)
}

fn order(finding: &Finding) -> (Option<(PathBuf, usize)>, Code, String) {
    let place = finding.spot.as_ref().map(|spot| (spot.file.clone(), spot.span.start));
    (place, finding.code, finding.message.clone())
}
