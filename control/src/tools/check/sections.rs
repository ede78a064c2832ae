//! Sections that have no effect.

use super::{Code, Context, Finding, Level};

/// PG015, PG016.
pub(super) fn check(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for policy in context.policies() {
        let sections = [
            ("ingress", "Ingress", policy.types.ingress, policy.ingress.len()),
            ("egress", "Egress", policy.types.egress, policy.egress.len()),
        ];
        for (section, name, in_force, rules) in sections {
            let field = format!("spec.{section}");
            if in_force || (rules == 0 && !context.is_written(policy, &field)) {
                continue;
            }
            let key = &policy.key;
            findings.push(if rules > 0 {
                let kind = (Code::SECTION_IGNORED, Level::Error);
                let message =
                    format!("the {section} rules of {key} are ignored: policyTypes does not list {name}");
                let help = format!("add {name} to policyTypes, or remove the section");
                context.about(policy, &field, kind, message, help)
            } else {
                let kind = (Code::EMPTY_SECTION, Level::Warning);
                let message = format!(
                    "the empty {section} section of {key} denies nothing: {name} is not among its policyTypes"
                );
                let help =
                    format!("to deny all {section}, add {name} to policyTypes; otherwise remove the section");
                context.about(policy, &field, kind, message, help)
            });
        }
    }
}
