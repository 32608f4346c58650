//! Token calls: how a request reaches a provider's token endpoint, and what its failures mean.
//!
//! Every provider sends its token calls through [`Calls`]. The request may carry a refresh token
//! that can be redeemed once, so what matters most is to know whether it left the process:
//!
//! 1. Failing to connect, DNS and TLS included, is [`CallError::NotSent`]: nothing was spent.
//! 2. After that, silence, a reset or a body cut short is [`CallError::Ambiguous`].
//! 3. 5xx is ambiguous too, 429 is [`CallError::RateLimited`]; every other answer goes to the
//!    provider, which knows its own words.
//!
//! Nothing is ever sent twice: no retry, no redirect, and a connection of its own for each call,
//! for a kept connection that the server is just closing would turn "not sent" into "perhaps sent".
//! Calls of the API, which spend nothing, keep their connections: [`super::api`].

use std::{fmt, path::Path, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, redirect, retry};
use serde_json::Value;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use super::{CallError, Headroom, Unclear, wait};
use crate::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::ProviderName,
        patience::within,
    },
    http::tls::{self, Alpn},
};

/// Token answers are a few KiB; what is longer than this, in bytes, is something else.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// How long a call of the API may take, its body included. Cal.com's edge gives up after 125 s, but a
/// list that takes more than this one is better asked for again.
const API_TIMEOUT: Duration = Duration::from_secs(30);

/// Below the 75 s after which common front ends close a quiet connection.
const API_IDLE: Duration = Duration::from_mins(1);

/// The machinery of calls, shared by all providers. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Calls {
    client: Client,
    api: Client,
    timeout: Duration,
    clock: SharedClock,
}

/// Why token calls cannot be set up: a fault of the configuration or of the machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The trust roots cannot be loaded.
    #[error("TLS for token calls cannot be set up")]
    Tls(#[from] tls::Error),
    /// The HTTP client refuses its settings.
    #[error("the client for token calls cannot be built")]
    Client(#[from] reqwest::Error),
}

/// An answer that came in whole, neither 429 nor 5xx.
pub(super) struct Answer {
    /// What the provider answered.
    pub status: StatusCode,
    /// Up to [`MAX_BODY_BYTES`]; empty if there was more. May hold tokens.
    pub body: Zeroizing<Vec<u8>>,
    /// When, by the provider's own clock if it tells, else by ours.
    pub at: Timestamp,
    /// How many more calls the provider takes, if it tells.
    pub headroom: Headroom,
}

// === impl Calls ===

impl Calls {
    /// Prepares token calls that take `timeout` at most, half of it for connecting.
    ///
    /// Certificates are trusted as [`tls`] says. No proxy is taken from the environment.
    pub fn new(
        ca_file: Option<&Path>,
        timeout: Duration,
        clock: SharedClock,
    ) -> Result<Self, SetupError> {
        let tls = tls::client_config(ca_file, Alpn::Unset)?;
        // reqwest leaves a given TLS configuration as it is. A connection that serves one request
        // has no use for HTTP/2, whose GOAWAY would be one more way to be unsure.
        let client = builder(tls.clone(), &["http/1.1"])
            .http1_only()
            .pool_max_idle_per_host(0)
            // Shorter than the whole, so that dying while connecting is told apart from silence.
            .connect_timeout(timeout / 2)
            .build()?;
        let api = builder(tls, &["h2", "http/1.1"])
            .pool_idle_timeout(API_IDLE)
            .connect_timeout(API_TIMEOUT / 3)
            .build()?;
        Ok(Self {
            client,
            api,
            timeout,
            clock,
        })
    }

    /// Begins a token call.
    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Begins a call that is made with the client's own credentials.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Begins a call of the API.
    pub(super) fn api(&self, method: Method, url: Url) -> RequestBuilder {
        self.api.request(method, url).timeout(API_TIMEOUT)
    }

    /// When an answer was given: by the provider's own clock if it tells, else by ours.
    pub(super) fn answered_at(&self, headers: &HeaderMap) -> Timestamp {
        wait::answered_at(headers).unwrap_or_else(|| self.clock.now())
    }

    /// Makes the call, once. Dropping the future may leave a request on its way.
    ///
    /// An answer that came while this process stood still is taken, however long that was: it holds
    /// the only tokens that work.
    pub(super) async fn send(
        &self,
        provider: &ProviderName,
        request: RequestBuilder,
    ) -> Result<Answer, CallError> {
        let answer = within(self.timeout, self.exchange(provider, request)).await;
        answer.unwrap_or_else(|| Err(ambiguous(provider, Unclear::TimedOut)))
    }

    async fn exchange(
        &self,
        provider: &ProviderName,
        request: RequestBuilder,
    ) -> Result<Answer, CallError> {
        let response = request
            .send()
            .await
            .map_err(|error| transport(provider, error))?;
        let status = response.status();
        let at = self.answered_at(response.headers());
        if status.is_server_error() {
            return Err(ambiguous(provider, Unclear::ServerError(status)));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(CallError::RateLimited {
                provider: provider.clone(),
                retry_after: wait::retry_after(response.headers(), at),
            });
        }
        let headroom = wait::headroom(response.headers(), at);
        let body = read(response, MAX_BODY_BYTES)
            .await
            .map_err(|error| transport(provider, error))?;
        Ok(Answer {
            status,
            body,
            at,
            headroom,
        })
    }
}

fn builder(mut tls: rustls::ClientConfig, protocols: &[&str]) -> ClientBuilder {
    let alpn = protocols.iter().map(|name| name.as_bytes().to_vec());
    tls.alpn_protocols = alpn.collect();
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("daypass/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
}

/// The body, or nothing if it is longer than `limit`, in bytes.
pub(super) async fn read(
    mut response: Response,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, reqwest::Error> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Ok(Zeroizing::new(Vec::new()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport(provider: &ProviderName, error: reqwest::Error) -> CallError {
    // The address names the client, and a provider may one day want more in it.
    let source = error.without_url();
    let provider = provider.clone();
    if source.is_connect() || source.is_builder() {
        return CallError::NotSent { provider, source };
    }
    let what = if source.is_timeout() {
        Unclear::TimedOut
    } else {
        Unclear::Broken
    };
    CallError::Ambiguous {
        provider,
        what,
        source: Some(source),
    }
}

/// An answer that says nothing clear, from a transport that worked.
pub(super) fn ambiguous(provider: &ProviderName, what: Unclear) -> CallError {
    CallError::Ambiguous {
        provider: provider.clone(),
        what,
        source: None,
    }
}

// === impl Answer ===

impl Answer {
    /// The body as JSON, if it is.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The error for an answer that belongs to no documented case.
    pub(super) fn unexpected(&self, provider: &ProviderName) -> CallError {
        CallError::Unexpected {
            provider: provider.clone(),
            status: self.status,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .field("at", &self.at)
            .field("headroom", &self.headroom)
            .finish()
    }
}

#[cfg(test)]
mod tests;
