//! The providers: whether they can be reached and trusted, whether their clock and this one agree, and
//! whether they take the configured clients.
//!
//! Nothing is spent for that. A client is shown with a refresh token that never was one: a provider that
//! knows the client refuses the token, another the client. A platform client is shown by reading a page
//! of its users.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use url::Url;

use super::{
    Check, Finding, Patient,
    clock::{apart, judge_provider},
    reach::{Asker, Fault, Said, ending},
};
use crate::{
    app,
    base::{
        clock::{SharedClock, SystemClock},
        secret::Secret,
    },
    config::ProviderConfig,
    provider::{Account, CallError, SharedProvider},
};

const NAME: &str = "providers";

/// No provider has ever made such a token.
const NONSENSE: &str = "daypass-doctor-shows-the-client-only";

/// See the [module docs](self).
pub(super) struct Providers;

#[async_trait]
impl Check for Providers {
    async fn look(&self, patient: &Patient<'_>) -> Vec<Finding> {
        let settings = &patient.loaded.settings;
        if patient.is_offline {
            let what = "not looked at, for nobody was to be called (--offline)";
            return vec![Finding::ok(NAME, what)];
        }
        let clock: SharedClock = Arc::new(SystemClock);
        let made = (
            Asker::new(settings.tls_ca_file.as_deref()),
            app::providers(settings, &clock),
        );
        let (asker, providers) = match made {
            (Ok(asker), Ok(providers)) => (asker, providers),
            (Err(error), _) => return vec![unusable(&error.to_string())],
            (_, Err(error)) => return vec![unusable(&error.to_string())],
        };
        let mut findings = Vec::new();
        for (config, provider) in settings.providers.iter().zip(providers) {
            if !has_clients(config) {
                let name = config.name();
                let what = format!("{name} is not called, for no client of it is configured");
                findings.push(Finding::ok(NAME, what));
                continue;
            }
            let places = places(config);
            let mut is_reached = true;
            for place in &places {
                let (found, answered) = look_at(&asker, config, place).await;
                is_reached &= answered;
                findings.extend(found);
            }
            if is_reached {
                findings.extend(clients(config, &provider).await);
            }
        }
        findings
    }
}

fn unusable(error: &str) -> Finding {
    Finding::error(
        NAME,
        error,
        "no provider can be called",
        "correct tls.ca_file",
    )
}

fn has_clients(config: &ProviderConfig) -> bool {
    match config {
        ProviderConfig::Calcom(calcom) => {
            calcom.client_id.is_some() || calcom.platform_client_id.is_some()
        }
        ProviderConfig::Calendly(calendly) => calendly.client_id.is_some(),
    }
}

/// Where the API and the token endpoint are; once if that is one server.
fn places(config: &ProviderConfig) -> Vec<Url> {
    let texts = match config {
        ProviderConfig::Calcom(calcom) => {
            [calcom.api_base.to_string(), calcom.token_url.to_string()]
        }
        ProviderConfig::Calendly(calendly) => [
            calendly.api_base.to_string(),
            calendly.auth_base.to_string(),
        ],
    };
    let mut seen = BTreeSet::new();
    let urls = texts.iter().filter_map(|text| Url::parse(text).ok());
    urls.filter(|url| seen.insert(url.origin().ascii_serialization()))
        .collect()
}

/// What there is to say of one server of a provider, and whether it answered.
async fn look_at(asker: &Asker, config: &ProviderConfig, url: &Url) -> (Vec<Finding>, bool) {
    let at = format!("{} ({})", config.name(), url.origin().ascii_serialization());
    let answer = async {
        let way = asker.reach(url).await?;
        let soon = ending(NAME, &at, &way);
        Ok((soon, way.ask("GET", url).await?))
    };
    match answer.await {
        Ok((soon, said)) => {
            let mut findings = vec![Finding::ok(NAME, format!("{at} answers"))];
            findings.extend(soon);
            findings.extend(compared(&at, &said));
            (findings, true)
        }
        Err(fault) => {
            let fault: Fault = fault;
            let told = Finding::error(
                NAME,
                fault.what(&at),
                "its users are served nothing there, and their tokens are not renewed",
                fault.mend(),
            );
            (vec![told], false)
        }
    }
}

fn compared(at: &str, said: &Said) -> Option<Finding> {
    // An answer of a cache would tell when it was first given.
    let theirs = said.date?;
    Some(judge_provider(at, apart(said.asked, theirs, said.told)))
}

/// Whether the provider takes the clients.
async fn clients(config: &ProviderConfig, provider: &SharedProvider) -> Vec<Finding> {
    let name = config.name();
    let (has_client, is_platform) = match config {
        ProviderConfig::Calcom(calcom) => (
            calcom.client_id.is_some(),
            calcom.platform_client_id.is_some(),
        ),
        ProviderConfig::Calendly(calendly) => (calendly.client_id.is_some(), false),
    };
    let mut findings = Vec::new();
    if has_client {
        let token = Secret::new(NONSENSE.to_owned());
        let answer = provider.refresh(&Account::default(), &token).await;
        findings.push(judged(&format!("{name} and its client"), answer.err()));
    }
    if let Some(users) = provider.managed_users().filter(|_| is_platform) {
        let answer = users.list(None).await;
        findings.push(judged(
            &format!("{name} and its platform client"),
            answer.err(),
        ));
    }
    findings
}

fn judged(what: &str, error: Option<CallError>) -> Finding {
    match error {
        None | Some(CallError::GrantRefused { .. }) => {
            Finding::ok(NAME, format!("{what}: the id and the secret are taken"))
        }
        Some(error @ (CallError::ClientRefused { .. } | CallError::NotConfigured { .. })) => {
            Finding::error(
                NAME,
                format!("{what}: {error}"),
                "no token of its users can be renewed, and nobody can be connected",
                "put the id and the secret into the configuration that the provider shows for the client",
            )
        }
        Some(error) => Finding::warning(
            NAME,
            format!("{what}: it was not told whether they are taken: {error}"),
            "if they are not, no token can be renewed",
            "run this again later; nothing was spent",
        ),
    }
}
