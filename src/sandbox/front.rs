//! What every request to an emulator passes: log, limits, latency, faults.
//!
//! 1. `/_sandbox` is the control API: never logged, limited, delayed or broken.
//! 2. The rate limit comes before everything else, as Cal.com's guard does.
//! 3. Token calls run to their end whatever becomes of the caller: a client that hangs up does not
//!    stop a rotation.
//! 4. An entry is logged when its answer is known, under the number of its arrival.

use std::{future::pending, sync::Arc};

use axum::{Router, body::Body, response::Response};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use tower::ServiceExt as _;

use super::{
    Announced, Announcement, Booked, BookingOrder, Created, Disable, NewUser, Revoke,
    log::{Entry, Kind, TokenCall, token_id},
    serve::Vanished,
    stage::{Stage, Usage},
    switches::{ApiMischief, Call, Switches, TokenMischief},
    wire::{self, Withheld, withheld},
};
use crate::base::clock::Timestamp;

/// What the front and the control API need of an emulated provider.
pub(crate) trait Emulator: Send + Sync + 'static {
    fn stage(&self) -> &Stage;
    /// The switches of a fresh start.
    fn defaults(&self) -> Switches {
        Switches::default()
    }
    fn kind_of(&self, path: &str) -> Kind;
    /// The sandbox user that a token was ever issued to.
    fn user_of(&self, token: &str) -> Option<String>;
    /// Which bucket a request counts in, and its size.
    fn bucket(&self, seen: &Seen) -> Option<(String, u32)>;
    fn too_many(&self) -> Response;
    /// An API fault in the provider's own words.
    fn refusal(&self, what: &ApiMischief, token: Option<&str>) -> Response;
    /// Last touches that every answer gets.
    fn finish(&self, seen: &Seen, usage: Option<Usage>, response: &mut Response);
    /// Whether the bearer may use the API at all: the user, or the provider's refusal.
    fn admit(&self, headers: &HeaderMap) -> Result<String, Box<Response>>;

    fn create(&self, order: &NewUser) -> Result<Created, String>;
    fn kill(&self, order: &Revoke) -> Result<(), String>;
    fn book(self: &Arc<Self>, order: &BookingOrder) -> Result<Booked, String>;
    fn announce(self: &Arc<Self>, order: &Announcement) -> Result<Announced, String>;
    fn disable(&self, order: &Disable) -> Result<(), String>;
}

/// The head of a request, kept for the log.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) token: Option<String>,
    pub(crate) user: Option<String>,
}

pub(crate) async fn answer<E: Emulator>(
    emulator: Arc<E>,
    router: Router,
    request: Request<Body>,
) -> Result<Response, Vanished> {
    if request.uri().path().starts_with("/_sandbox") {
        return Ok(infallible(router.oneshot(request).await));
    }
    if emulator.kind_of(request.uri().path()) != Kind::Token {
        return handle(&*emulator, router, request).await;
    }
    // A token call that has arrived runs to its end, and into the log, whoever hangs up.
    let lifecycle = emulator.stage().lifecycle.clone();
    let task = lifecycle.spawn(async move { handle(&*emulator, router, request).await });
    match task.await {
        Ok(Some(handled)) => handled,
        Ok(None) | Err(_) => Err(Vanished),
    }
}

async fn handle<E: Emulator>(
    emulator: &E,
    router: Router,
    request: Request<Body>,
) -> Result<Response, Vanished> {
    let stage = emulator.stage();
    let seq = stage.log.arrive();
    let seen = Seen::new(emulator, &request);
    let usage = emulator
        .bucket(&seen)
        .and_then(|(bucket, limit)| stage.spend(&bucket, limit));
    let early = if usage.is_some_and(|usage| usage.exceeded) {
        Some(emulator.too_many())
    } else {
        misbehave(emulator, &seen).await
    };
    let mut response = match early {
        Some(response) => response,
        None => infallible(router.oneshot(request).await),
    };
    emulator.finish(&seen, usage, &mut response);
    date(stage, &mut response);
    let withheld = response.extensions().get::<Withheld>().is_some();
    stage.log.push(seen.entry(seq, &response, withheld));
    if withheld {
        Err(Vanished)
    } else {
        Ok(response)
    }
}

/// Runs a token call: faults before, the call itself, faults after.
pub(crate) async fn token_call<F>(stage: &Stage, fault: Option<TokenMischief>, work: F) -> Response
where
    F: Future<Output = Response>,
{
    match &fault {
        Some(TokenMischief::DropBefore) => return withheld(),
        Some(TokenMischief::Answer(canned)) => return wire::canned(canned),
        Some(TokenMischief::Missing) => return wire::edge_page(StatusCode::NOT_FOUND),
        _ => {}
    }
    let response = work.await;
    stage.nap(|switches| switches.token_latency_after_ms).await;
    let noted = response.extensions().get::<TokenCall>().cloned();
    let mut response = match fault {
        Some(TokenMischief::DropAfter) => withheld(),
        Some(TokenMischief::HangAfter) => hang(stage).await,
        Some(TokenMischief::AnswerAfter(canned)) => wire::canned(&canned),
        Some(TokenMischief::Malformed { how }) => wire::broken(response, how).await,
        _ => response,
    };
    if let Some(noted) = noted {
        response.extensions_mut().insert(noted);
    }
    response
}

/// Notes what a token call did, for the log.
pub(crate) fn noted(mut response: Response, call: TokenCall) -> Response {
    response.extensions_mut().insert(call);
    response
}

/// A note that the log fills further.
pub(crate) fn note(call: Call, outcome: &str) -> TokenCall {
    TokenCall {
        call,
        user: None,
        refresh: None,
        outcome: outcome.to_owned(),
        new_access: None,
        new_refresh: None,
    }
}

async fn misbehave<E: Emulator>(emulator: &E, seen: &Seen) -> Option<Response> {
    if seen.kind != Kind::Api {
        return None;
    }
    let stage = emulator.stage();
    stage.nap(|switches| switches.api_latency_ms).await;
    let what = stage.set(|switches| switches.take_api_fault(seen.user.as_deref(), &seen.path))?;
    Some(match what {
        ApiMischief::Answer(canned) => wire::canned(&canned),
        ApiMischief::HtmlForbidden => wire::edge_page(StatusCode::FORBIDDEN),
        ApiMischief::Drop => withheld(),
        ApiMischief::Hang => hang(stage).await,
        other => {
            let mut response = emulator.refusal(&other, seen.token.as_deref());
            if let ApiMischief::RateLimited {
                retry_after: Some(text),
            } = other
                && let Ok(value) = HeaderValue::from_str(&text)
            {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
            response
        }
    })
}

/// Waits for the end of the process, or of the caller's patience.
async fn hang(stage: &Stage) -> Response {
    tokio::select! {
        () = stage.lifecycle.draining() => {}
        () = pending::<()>() => {}
    }
    withheld()
}

fn infallible(answered: Result<Response, std::convert::Infallible>) -> Response {
    answered.unwrap_or_else(|never| match never {})
}

fn date(stage: &Stage, response: &mut Response) {
    if let Ok(value) = HeaderValue::from_str(&super::dates::http_date(stage.now())) {
        response.headers_mut().insert(DATE, value);
    }
}

// === impl Seen ===

impl Seen {
    fn new<E: Emulator>(emulator: &E, request: &Request<Body>) -> Self {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let token = wire::bearer(request.headers()).map(ToOwned::to_owned);
        Self {
            at: emulator.stage().clock.now(),
            kind: emulator.kind_of(request.uri().path()),
            method: request.method().clone(),
            path: path.to_owned(),
            headers: request.headers().clone(),
            user: token.as_deref().and_then(|token| emulator.user_of(token)),
            token,
        }
    }

    fn entry(self, seq: u64, response: &Response, withheld: bool) -> Entry {
        let token_call = response.extensions().get::<TokenCall>().cloned();
        let named = token_call.as_ref().and_then(|call| call.user.clone());
        Entry {
            seq,
            at: self.at,
            kind: self.kind,
            method: self.method.to_string(),
            path: self.path,
            status: if withheld {
                0
            } else {
                response.status().as_u16()
            },
            bearer: self.token.as_deref().map(token_id),
            user: named.or(self.user),
            token_call,
        }
    }
}
