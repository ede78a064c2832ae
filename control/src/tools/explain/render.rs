//! An explanation as text.

use super::{
    Answers, BackendReport, Because, Explanation, Leaving, PolicyReport, RuleReport, ServiceReport, Side,
};

/// For people to read.
pub fn render(answers: &Answers) -> String {
    let texts = answers.answers.iter().map(explanation);
    let texts: Vec<String> =
        answers.service.iter().map(|report| service(report, answers.allowed)).chain(texts).collect();
    texts.join("\n")
}

fn service(report: &ServiceReport, allowed: bool) -> String {
    let leaves = report.leaving.is_empty() || report.leaving.iter().any(|leaving| leaving.allowed);
    let some = leaves && report.backends.iter().any(|backend| backend.allowed == Some(true));
    let verdict = match (allowed, some) {
        (true, _) => "ALLOWED",
        (false, true) => "ALLOWED IN PART",
        (false, false) => "DENIED",
    };
    let addresses: Vec<String> = report.addresses.iter().map(ToString::to_string).collect();
    let addresses = if addresses.is_empty() { String::new() } else { format!(" ({})", addresses.join(", ")) };
    let ServiceReport { service, from, protocol, port, target, .. } = report;
    let mut text =
        format!("{verdict}  {from} -> Service {service}{addresses} {port}/{protocol}, targetPort {target}\n");
    for note in &report.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text.push('\n');
    for Leaving { address, allowed } in &report.leaving {
        let verdict = if *allowed { "allowed" } else { "denied" };
        text.push_str(&format!("  {address} {port}/{protocol}, where it leaves its pod: {verdict}\n"));
    }
    for backend in &report.backends {
        let BackendReport { name, address, port, .. } = backend;
        let name = name.as_ref().map_or_else(|| address.to_string(), |name| format!("{name} ({address})"));
        let arrives = if report.leaving.is_empty() { "" } else { ", where it arrives" };
        let verdict = match (backend.allowed, backend.unused) {
            (Some(true), _) => "allowed".to_owned(),
            (Some(false), _) => "denied".to_owned(),
            (None, why) => format!("not used: {}", why.unwrap_or("it is of another family")),
        };
        text.push_str(&format!("  {name} {port}/{protocol}{arrives}: {verdict}\n"));
    }
    text
}

fn explanation(answer: &Explanation) -> String {
    let what = match answer.port {
        Some(port) => format!("{port}/{}", answer.protocol),
        None => answer.protocol.clone(),
    };
    let verdict = if answer.allowed { "ALLOWED" } else { "DENIED" };
    let mut text = format!("{verdict}  {} -> {} {what}\n", answer.from, answer.to);
    for note in &answer.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    for (side, direction, end) in
        [(&answer.egress, "egress", &answer.from), (&answer.ingress, "ingress", &answer.to)]
    {
        text.push_str(&format!("\n{direction} of {}: {}\n", end.title(), headline(side)));
        text.push_str(&because(side, direction));
    }
    for (at, remedy) in answer.remedies.iter().enumerate() {
        let where_to = match (&remedy.add_to, &remedy.spot) {
            (Some(policy), Some(spot)) => {
                format!("add to spec.{} of {policy} ({})", remedy.direction, spot.at())
            }
            (Some(policy), None) => format!("add to spec.{} of {policy}", remedy.direction),
            (None, _) => "add a policy".to_owned(),
        };
        let lead = if at == 0 { "To allow it" } else { "And" };
        text.push_str(&format!("\n{lead}, {where_to}:\n\n"));
        for line in remedy.yaml.lines() {
            text.push_str(&format!("    {line}\n"));
        }
        if let Some(beware) = &remedy.beware {
            text.push_str(&format!("\n(Beware: {beware}.)\n"));
        }
    }
    text
}

fn headline(side: &Side) -> String {
    match (side.because, &side.rule) {
        (Because::Rule, Some(rule)) => format!("allowed by {}, {}", rule.policy, rule.rule),
        (Because::NoRule, _) => "denied, no rule allows it".to_owned(),
        _ => "allowed".to_owned(),
    }
}

fn because(side: &Side, direction: &str) -> String {
    match side.because {
        Because::NoPod => "  it is no pod, so no policy isolates it\n".to_owned(),
        Because::NotIsolated => format!("  no policy isolates it for {direction}\n"),
        Because::OwnNode => "  a pod's own node may always reach it\n".to_owned(),
        Because::Itself => "  a pod may always reach itself\n".to_owned(),
        Because::AskedBefore => {
            "  it was asked on the source's node, about the Service's address\n".to_owned()
        }
        Because::Rule => allowing(side),
        Because::NoRule => side.policies.iter().map(|policy| refusing(policy, direction)).collect(),
    }
}

fn allowing(side: &Side) -> String {
    let mut text = String::new();
    if let Some(rule) = &side.rule {
        text.push_str(&format!("  {}\n", rule.words));
        if let Some(spot) = &rule.spot {
            text.push_str(&format!("  {}\n", spot.at()));
        }
    }
    let names: Vec<&str> = side.policies.iter().map(|policy| policy.policy.as_str()).collect();
    text.push_str(&format!("  isolated by {}\n", names.join(", ")));
    let allows = |rule: &&RuleReport| rule.misses.is_empty();
    let also = side.policies.iter().flat_map(|policy| {
        policy.rules.iter().filter(allows).map(move |rule| format!("{}, {}", policy.policy, rule.rule))
    });
    let first = side.rule.as_ref().map(|rule| format!("{}, {}", rule.policy, rule.rule));
    let also: Vec<String> = also.filter(|name| Some(name) != first.as_ref()).collect();
    if !also.is_empty() {
        text.push_str(&format!("  also allowed by {}\n", also.join("; ")));
    }
    text
}

fn refusing(policy: &PolicyReport, direction: &str) -> String {
    let mut text = format!("  isolated by {}{}\n", policy.policy, at(policy.spot.as_ref()));
    if policy.rules.is_empty() {
        text.push_str(&format!("    it has no {direction} rule\n"));
    }
    for rule in &policy.rules {
        text.push_str(&format!("    {}{} does not match:\n", rule.rule, at(rule.spot.as_ref())));
        for miss in &rule.misses {
            text.push_str(&format!("      {}: {}\n", miss.field, miss.words));
        }
    }
    text
}

fn at(spot: Option<&super::Spot>) -> String {
    spot.map_or_else(String::new, |spot| format!(" ({})", spot.at()))
}
