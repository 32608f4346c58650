//! The configuration: what is wrong, and what looks wrong.

use async_trait::async_trait;

use super::{Check, Finding, Patient};
use crate::config::{self, Problems};

const NAME: &str = "configuration";

/// See the [module docs](self).
pub(super) struct Configuration;

#[async_trait]
impl Check for Configuration {
    async fn look(&self, patient: &Patient<'_>) -> Vec<Finding> {
        let loaded = patient.loaded;
        let mut findings = vec![Finding::ok(
            NAME,
            match &loaded.file {
                Some(file) => format!("{} is fine", file.display()),
                None => "no file; the defaults and the environment are fine".to_owned(),
            },
        )];
        findings.extend(loaded.warnings.iter().map(doubt));
        findings
    }
}

/// What keeps everything from starting.
pub(super) fn problems(problems: &Problems) -> Vec<Finding> {
    let wrong = problems.problems.iter().map(|problem| {
        Finding::error(
            NAME,
            said(problem),
            "nothing starts with it",
            "correct it; docs/configuration.md has every setting",
        )
    });
    wrong.chain(problems.warnings.iter().map(doubt)).collect()
}

fn doubt(warning: &config::Finding) -> Finding {
    Finding::warning(
        NAME,
        said(warning),
        "it may not be what was meant",
        "correct it, or leave it if it is",
    )
}

/// On one line.
fn said(finding: &config::Finding) -> String {
    finding.to_string().replace("\n    ", ": ")
}
