//! The store: whether it can be reached and written to, what it is, and what it could lose.

use async_trait::async_trait;

use super::{Check, Finding, Opened, Patient, place};
use crate::{
    app::StartError,
    store::{self, Backend, Survey, Way},
};

const NAME: &str = "store";

/// See the [module docs](self).
pub(super) struct Store;

#[async_trait]
impl Check for Store {
    async fn look(&self, patient: &Patient<'_>) -> Vec<Finding> {
        let backend = &patient.loaded.settings.store.backend;
        let mut findings = match &patient.opened {
            Ok(opened) => look_into(opened).await,
            Err(error) => vec![closed(error)],
        };
        findings.extend(way(backend));
        if let Backend::Sqlite { path } = backend {
            findings.extend(on_disk(path));
        }
        findings
    }
}

/// Why it cannot be opened.
fn closed(error: &StartError) -> Finding {
    let StartError::Store { at, source } = error else {
        return Finding::error(
            NAME,
            error.to_string(),
            "the store cannot be asked",
            "see above",
        );
    };
    if let store::Error::NotReady { what } = source {
        return Finding::warning(
            NAME,
            what.clone(),
            "there are no connections yet, or they are elsewhere",
            "correct store.url if there should be some; else start `daypass run`",
        );
    }
    Finding::error(
        NAME,
        format!("{at} cannot be opened"),
        "a sidecar does not start without it; one that runs serves the tokens it has in memory, and no \
         others",
        with_causes(source),
    )
}

async fn look_into(opened: &Opened) -> Vec<Finding> {
    let survey = match &opened.survey {
        Ok(survey) => survey,
        Err(error) => return vec![failing(error)],
    };
    let mut findings = vec![Finding::ok(
        NAME,
        format!("{}; schema {}", survey.server, survey.schema),
    )];
    findings.extend(survey_findings(survey));
    match opened.stores.store.check().await {
        Ok(()) => {}
        // Said already.
        Err(_) if survey.is_replica => {}
        Err(error) => findings.push(failing(&error)),
    }
    match opened.stores.inspect.assurances().await {
        Ok(promises) => findings.extend(promises.into_iter().map(promise)),
        Err(error) => findings.push(failing(&error)),
    }
    findings
}

/// It was opened, and fails now.
fn failing(error: &store::Error) -> Finding {
    Finding::error(
        NAME,
        error.to_string(),
        "nothing can be connected or renewed; only tokens that are in memory are used",
        with_causes(error),
    )
}

fn survey_findings(survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    if survey.is_replica {
        findings.push(Finding::error(
            NAME,
            format!("{} is a replica, which takes no writes", survey.server),
            "nothing can be connected or renewed",
            "name the primary in store.url, or what finds it: several hosts, or the sentinels",
        ));
    }
    if survey.schema > survey.known {
        findings.push(Finding::warning(
            NAME,
            format!(
                "its schema {} is newer than the {} that this version knows, and can be worked with",
                survey.schema, survey.known
            ),
            "an upgrade has begun and not ended",
            "upgrade this one, too",
        ));
    }
    if survey.announced == Some(false) {
        findings.push(Finding::warning(
            NAME,
            "changes by other sidecars are not announced",
            "they are looked for every second or so, and whoever waits for another's renewal waits that \
             long",
            "nothing, if a pooler in transaction mode is meant to stand in between; else let it connect \
             directly, and on Redis grant subscribe and publish",
        ));
    }
    findings
}

fn promise(finding: store::Finding) -> Finding {
    if finding.is_grave {
        Finding::error(NAME, finding.what, finding.why, finding.mend)
    } else {
        Finding::warning(NAME, finding.what, finding.why, finding.mend)
    }
}

/// How the way to the server is protected.
fn way(backend: &Backend) -> Option<Finding> {
    let (what, why) = match backend.way() {
        Way::Local | Way::Verified => return None,
        Way::Open => (
            "the way to the store is not protected, or need not be",
            "whoever is on it reads the password, and can write tokens",
        ),
        Way::Unverified => (
            "the way to the store is protected, but whose server is at its end is not verified",
            "whoever is on it can take its place",
        ),
    };
    let mend = match backend {
        Backend::Postgres { .. } => "leave sslmode out of store.url, or set it to verify-full",
        _ => "use rediss:// (rediss-cluster://, rediss-sentinel://) in store.url",
    };
    Some(Finding::warning(NAME, what, why, mend))
}

/// What there is to say of the file.
fn on_disk(path: &std::path::Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(kind) = place::shared(path) {
        findings.push(Finding::error(
            NAME,
            format!("{} lies on {kind}, which other machines may share", path.display()),
            "SQLite's log does not work there: the database can be damaged, and every connection lost",
            "put it on a disk of this machine, or use PostgreSQL or Redis",
        ));
    }
    findings.extend(place::lasting(NAME, path));
    findings.extend(place::private(NAME, path));
    findings
}

fn with_causes(error: &store::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    // Some drivers repeat what their cause says.
    texts.dedup();
    texts.join("; because: ")
}
