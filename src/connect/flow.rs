//! A consent under way: what is kept from the moment the browser leaves until it comes back.
//!
//! 1. The state that the provider carries is a random secret of 256 bits. Its digest finds the record,
//!    which is taken once, whatever comes of it, and ends after [`LIFE`].
//! 2. The record is bound to its provider: a state that comes back by another provider's callback
//!    finds nothing (RFC 9700 §4.4, mix-up).
//! 3. It names the browser that left ([`Browser::mark`]), and holds the PKCE verifier.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    browser::{Browser, Mark},
    place::Place,
    records::{Records, digest},
    return_to::{ReturnOrigins, ReturnTo},
    ticket::Invitation,
};
use crate::{
    base::{
        ids::{ConnectionKey, ProviderName, UserId},
        random::Random,
        secret::Secret,
    },
    provider::{Ask, CallError, Consent, Pkce, Verifier},
    store::{self, Purpose},
};

/// People sign in, look for their telephone, or make an account first. The code that comes back lives
/// for ten minutes by itself (both providers).
pub(super) const LIFE: Duration = Duration::from_mins(30);

/// A consent under way.
pub(super) struct Flow {
    /// Who is being connected.
    pub(super) key: ConnectionKey,
    /// Both requests of a consent must name the same.
    pub(super) redirect_uri: Url,
    pub(super) verifier: Option<Verifier>,
    /// What was asked for; `None` leaves it to the provider.
    pub(super) scope: Option<String>,
    /// Where the browser goes afterwards.
    pub(super) return_to: Option<ReturnTo>,
    /// Which browser left.
    pub(super) browser: Mark,
}

/// A flow as it is kept.
#[derive(Serialize, Deserialize)]
struct Record {
    user: UserId,
    redirect_uri: Url,
    verifier: Option<String>,
    scope: Option<String>,
    return_to: Option<String>,
    browser: Mark,
}

/// A flow that can begin: where to send the browser, and what to keep first.
pub(super) struct Departure {
    /// The consent page.
    pub(super) to: Url,
    state: Secret<String>,
    flow: Flow,
}

// === impl Departure ===

impl Departure {
    /// Prepares to ask for what `invitation` offers.
    pub(super) fn prepare(
        consent: &dyn Consent,
        place: &Place,
        invitation: Invitation,
        browser: &Browser,
        random: &dyn Random,
    ) -> Result<Self, CallError> {
        let bytes = Secret::new(random.bytes::<32>());
        let state = Secret::new(URL_SAFE_NO_PAD.encode(bytes.danger_expose()));
        let redirect_uri = consent.redirect_uri(&place.callback(&invitation.key.provider));
        let verifier = match consent.pkce() {
            Pkce::S256 => Some(Verifier::random(random)),
            Pkce::Unused => None,
        };
        let to = consent.authorize_url(&Ask {
            state: state.danger_expose(),
            redirect_uri: &redirect_uri,
            verifier: verifier.as_ref(),
        })?;
        // RFC 6749 §3.3; what was asked for is what an answer without a scope has granted (§5.1).
        let mut pairs = to.query_pairs();
        let scope = pairs.find(|(name, _)| name == "scope");
        let flow = Flow {
            key: invitation.key,
            redirect_uri,
            verifier,
            scope: scope.map(|(_, scope)| scope.into_owned()),
            return_to: invitation.return_to,
            browser: browser.mark(),
        };
        Ok(Self { to, state, flow })
    }

    /// Keeps what the return needs. Only then may the browser leave.
    pub(super) async fn keep(&self, records: &Records) -> Result<(), store::Error> {
        let flow = &self.flow;
        let verifier = flow.verifier.as_ref();
        let record = Record {
            user: flow.key.user.clone(),
            redirect_uri: flow.redirect_uri.clone(),
            verifier: verifier.map(|verifier| verifier.secret().danger_expose().clone()),
            scope: flow.scope.clone(),
            return_to: flow.return_to.as_ref().map(|url| url.as_str().to_owned()),
            browser: flow.browser,
        };
        let digest = digest(self.state.danger_expose());
        records
            .put(Purpose::Consent, &flow.key.provider, &digest, &record, LIFE)
            .await
    }
}

// === impl Flow ===

impl Flow {
    /// The flow of `state`, which is over with that; `None` if it was taken already, has ended, is of
    /// another provider, or never was.
    pub(super) async fn take(
        records: &Records,
        origins: &ReturnOrigins,
        provider: &ProviderName,
        state: &str,
    ) -> Result<Option<Self>, store::Error> {
        let record = records
            .take::<Record>(Purpose::Consent, provider, &digest(state))
            .await?;
        Ok(record.map(|record| Self {
            key: ConnectionKey {
                provider: provider.clone(),
                user: record.user,
            },
            redirect_uri: record.redirect_uri,
            verifier: record
                .verifier
                .map(|text| Verifier::from_kept(Secret::new(text))),
            scope: record.scope,
            return_to: record.return_to.and_then(|text| origins.check(&text).ok()),
            browser: record.browser,
        }))
    }
}
