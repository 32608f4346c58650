//! The two addresses that a browser visits: the link, and the callback.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::form_urlencoded;

use super::{
    Room,
    browser::Browser,
    ending::{Ending, Reason},
    flow::{self, Departure, Flow},
    records::digest,
    ticket::{self, Invitation},
    told::Reader,
    trouble::Trouble,
};
use crate::{
    base::ids::{ConnectionKey, ProviderName},
    http::access_log::Record,
    provider::{Callback, ConsentRefusal, SharedProvider},
};

/// Where the access log learns whom a request is about.
pub(super) type Log = Option<Extension<Arc<Record>>>;

/// The two routes.
pub(super) fn routes(room: &Arc<Room>) -> Router {
    Router::new()
        .route("/connect/{ticket}", get(depart))
        .route("/oauth/callback/{provider}", get(come_back))
        .with_state(Arc::clone(room))
}

/// `GET /connect/{ticket}`: on to the consent page.
async fn depart(
    State(room): State<Arc<Room>>,
    Path(ticket): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    log: Log,
) -> Response {
    match room.depart(&ticket, query.as_deref(), &headers, &log).await {
        Ok(response) => response,
        Err(trouble) => trouble.answer(Reader::of(&headers)),
    }
}

/// `GET /oauth/callback/{provider}`: back from the consent page.
async fn come_back(
    State(room): State<Arc<Room>>,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    log: Log,
) -> Response {
    let query = query.unwrap_or_default();
    match room.come_back(&provider, &query, &headers, &log).await {
        Ok(response) => response,
        Err(trouble) => trouble.answer(Reader::of(&headers)),
    }
}

// === impl Room ===

impl Room {
    async fn depart(
        &self,
        ticket: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        log: &Log,
    ) -> Result<Response, Trouble> {
        let mut invitation = self.invitation(ticket).await?;
        note(log, &invitation.key);
        if let (None, Some(asked)) = (&invitation.return_to, return_to(query)) {
            invitation.return_to = Some(self.origins.check(&asked)?);
        }
        let key = invitation.key.clone();
        let (provider, place) = (self.provider(key.provider.as_str())?, self.place()?);
        let consent = provider.consent().ok_or(Trouble::UnknownProvider)?;
        let browser = Browser::of(headers, place).unwrap_or_else(|| Browser::new(&*self.random));
        let departure = Departure::prepare(consent, place, invitation, &browser, &*self.random)
            .map_err(|source| Trouble::NotConfigured {
                provider: key.provider,
                source,
            })?;
        departure.keep(&self.records).await?;
        let mut response = redirect(StatusCode::FOUND, departure.to.as_str());
        if let Some(cookie) = browser.cookie(place, flow::LIFE) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    async fn invitation(&self, ticket: &str) -> Result<Invitation, Trouble> {
        let opened = ticket::open(&self.records, &self.origins, ticket, self.clock.now()).await?;
        let invitation = opened.ok_or(Trouble::LinkEnded)?;
        // Each opening of a good link writes a record.
        self.openings
            .admit(digest(ticket))
            .map_err(Trouble::OpenedTooOften)?;
        Ok(invitation)
    }

    async fn come_back(
        self: &Arc<Self>,
        name: &str,
        query: &str,
        headers: &HeaderMap,
        log: &Log,
    ) -> Result<Response, Trouble> {
        let provider = self.provider(name)?;
        let (state, answer) = match Callback::read(query) {
            Callback::Code { state, code } => (state, Ok(code)),
            Callback::Refused { state, refusal } => (state, Err(refusal)),
            Callback::Void => return Err(Trouble::NotACallback),
        };
        // Taken before anything else is looked at: whatever comes of it, it was used.
        let flow = Flow::take(&self.records, &self.origins, provider.name(), &state).await?;
        let flow = flow.ok_or(Trouble::StateUnknown)?;
        note(log, &flow.key);
        let browser = Browser::of(headers, self.place()?);
        if !browser.is_some_and(|browser| browser.is(&flow.browser)) {
            return Err(Trouble::OtherBrowser);
        }
        let (key, return_to) = (flow.key.clone(), flow.return_to.clone());
        let ending = match answer {
            Ok(code) => {
                let arriving = Arc::clone(self).arrive(Arc::clone(provider), flow, code);
                let arrived = self.lifecycle.spawn(arriving).await;
                arrived.ok().flatten().ok_or(Trouble::ShuttingDown)?
            }
            Err(refusal) => {
                let ending = refused(&key, refusal);
                self.followers.consented(&key, ending.outcome()).await;
                ending
            }
        };
        let told = ending.told(&key.provider);
        if let Some(return_to) = return_to {
            let told: Vec<_> = told.iter().map(|(name, text)| (*name, &**text)).collect();
            return Ok(redirect(StatusCode::SEE_OTHER, &return_to.with(&told)));
        }
        let again = self
            .place()?
            .connect(ticket::bear(&self.records, &key, self.clock.now()).danger_expose());
        let service = provider.kind().title();
        Ok(ending.answer(Reader::of(headers), &key.provider, service, again.as_str()))
    }

    fn provider(&self, name: &str) -> Result<&SharedProvider, Trouble> {
        let name = ProviderName::parse(name).ok();
        name.and_then(|name| self.providers.get(&name))
            .ok_or(Trouble::UnknownProvider)
    }
}

/// What a refusal means for the app. What only the operator can mend is an error in the log.
fn refused(key: &ConnectionKey, refusal: ConsentRefusal) -> Ending {
    let ConnectionKey { provider, user } = key;
    match refusal {
        ConsentRefusal::Denied => {
            tracing::info!(%provider, %user, "the user did not consent");
            Ending::Denied
        }
        ConsentRefusal::Scope | ConsentRefusal::Client => {
            let (what, reason) = match refusal {
                ConsentRefusal::Scope => ("the scope", Reason::ScopeRefused),
                _ => ("the client or its request", Reason::ClientRefused),
            };
            tracing::error!(
                %provider,
                "nobody can connect: the provider refuses {what}; correct it in the configuration",
            );
            Ending::Failed(reason)
        }
        ConsentRefusal::Unavailable => {
            tracing::warn!(%provider, %user, "the provider has trouble of its own");
            Ending::Failed(Reason::ProviderUnavailable)
        }
        ConsentRefusal::Other => {
            tracing::warn!(%provider, %user, "the provider refused, in words that are not known");
            Ending::Failed(Reason::Refused)
        }
    }
}

/// The address in the query of a link.
fn return_to(query: Option<&str>) -> Option<String> {
    form_urlencoded::parse(query?.as_bytes())
        .find(|(name, _)| name == "return_to")
        .map(|(_, value)| value.into_owned())
}

fn redirect(status: StatusCode, to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(to) => (status, [(header::LOCATION, to)]).into_response(),
        // Unreachable: every address that is sent was parsed, and is ASCII.
        Err(_) => Trouble::NotFound.answer(Reader::Program),
    }
}

/// Tells the access log.
pub(super) fn note(log: &Log, key: &ConnectionKey) {
    if let Some(Extension(record)) = log {
        record.note(|facts| {
            facts.user = HeaderValue::from_str(key.user.as_str()).ok();
            facts.provider = Some(key.provider.clone());
        });
    }
}
