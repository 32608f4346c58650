//! The other direction: whether the address that providers and browsers are given leads to a Daypass, and
//! whether the app's own can be reached. No event is sent.

use async_trait::async_trait;
use url::Url;

use super::{
    Check, Finding, Patient,
    reach::{Asker, Fault, ending},
};
use crate::{base::ids::UserId, config::Settings};

/// See the [module docs](self).
pub(super) struct Inward;

const INGRESS: &str = "ingress";
const APP: &str = "app";

/// Begins every type of a problem that Daypass makes.
const OURS: &str = "urn:daypass:problem:";

#[async_trait]
impl Check for Inward {
    async fn look(&self, patient: &Patient<'_>) -> Vec<Finding> {
        let settings = &patient.loaded.settings;
        if patient.is_offline {
            let what = "not looked at, for nobody was to be called (--offline)";
            return vec![Finding::ok(INGRESS, what), Finding::ok(APP, what)];
        }
        // Whoever cannot be trusted for want of a usable file is told of with the providers.
        let Ok(asker) = Asker::new(settings.tls_ca_file.as_deref()) else {
            return Vec::new();
        };
        let mut findings = public(&asker, settings).await;
        findings.extend(app(&asker, settings).await);
        findings
    }
}

/// What lies behind `ingress.public_url`: a call without a signature, which a Daypass refuses in its own
/// words.
async fn public(asker: &Asker, settings: &Settings) -> Vec<Finding> {
    let (Some(base), Some(provider)) = (&settings.ingress.public_url, settings.providers.first())
    else {
        let none = "no ingress.public_url: nobody is connected here, and no webhooks are taken";
        return vec![Finding::ok(INGRESS, none)];
    };
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        let path = ["webhooks", provider.name().as_str()];
        segments.pop_if_empty().extend(path);
    }
    let at = format!("{base} (ingress.public_url)");
    let answer = async {
        let way = asker.reach(&url).await?;
        let soon = ending(INGRESS, &at, &way);
        Ok((soon, way.ask("POST", &url).await?))
    };
    let why = "users cannot connect, and the provider's webhooks do not arrive";
    let fault: Fault = match answer.await {
        Ok((soon, said)) if said.text.contains(OURS) => {
            let fine = Finding::ok(INGRESS, format!("{at} leads to a Daypass"));
            return [fine].into_iter().chain(soon).collect();
        }
        Ok((_, said)) => {
            return vec![Finding::error(
                INGRESS,
                format!(
                    "{at} leads to something else, which answers {}",
                    said.status
                ),
                why,
                "route its whole path, and those below it, to ingress.listen, unchanged",
            )];
        }
        Err(fault) => fault,
    };
    let what = fault.what(&at);
    vec![if fault.is_of_certificate() {
        Finding::error(INGRESS, what, why, fault.mend())
    } else {
        // A cluster's own machines often cannot call its public address.
        let mend = format!("{}; or try it from outside", fault.mend());
        Finding::warning(INGRESS, what, why, mend)
    }]
}

/// The way to the app: its name, a connection, its certificate.
async fn app(asker: &Asker, settings: &Settings) -> Vec<Finding> {
    let destination = settings.webhooks.destination.as_ref();
    let (Some(destination), Some(provider)) = (destination, settings.providers.first()) else {
        let none = "no app.webhook_url: the app is told nothing";
        return vec![Finding::ok(APP, none)];
    };
    let url: Option<Url> = UserId::parse("doctor")
        .ok()
        .and_then(|user| destination.of(provider.name(), &user));
    let Some(url) = url else {
        return Vec::new();
    };
    let at = format!("{} (app.webhook_url)", url.origin().ascii_serialization());
    let fault = match asker.reach(&url).await {
        Ok(way) => {
            let what = format!("{at} takes connections; no event was sent");
            let fine = Finding::ok(APP, what);
            return [fine].into_iter().chain(ending(APP, &at, &way)).collect();
        }
        Err(fault) => fault,
    };
    let (what, why) = (
        fault.what(&at),
        "events wait in the store, are tried again for webhooks.retry_for, and are given up then",
    );
    vec![if matches!(fault, Fault::Connect(_) | Fault::Silence) {
        // It may start later than this.
        Finding::warning(APP, what, why, "start the app, or correct app.webhook_url")
    } else {
        Finding::error(APP, what, why, fault.mend())
    }]
}
