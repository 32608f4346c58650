//! One try: the request to the app, and what its answer means.
//!
//! 1. The body is the provider's, byte for byte, with its content type and signature headers.
//! 2. Added are: who it is for, from where, what it is, and the three headers of Standard Webhooks.
//! 3. 2xx within `app.timeout` is delivered. The body of the answer is not read: it may be anything.
//! 4. A redirect is a failure: a delivery must not be led into places that nobody configured.

use std::{path::Path, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::{Client, redirect, retry};
use url::Url;

use super::breaker::Shown;
use crate::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::UserId,
    },
    http::tls::{self, Alpn},
    store::Delivery,
    webhook::{Error, envelope::Envelope, standard::Signers},
};

/// The provider of an event.
const PROVIDER: HeaderName = HeaderName::from_static("daypass-provider");

/// Its name, such as `invitee.created`.
const EVENT: HeaderName = HeaderName::from_static("daypass-event");

/// Calls the app.
#[derive(Clone)]
pub(super) struct Courier {
    client: Client,
    signers: Signers,
    /// Says who it is for, as in requests of the app.
    user_header: HeaderName,
    clock: SharedClock,
}

/// What came of a try.
pub(super) enum Tried {
    /// The app has it.
    Delivered,
    /// It does not.
    Failed {
        /// Why, in a few words.
        what: String,
        /// How long the app wants to be left alone.
        retry_after: Option<Duration>,
        /// What that says about the app.
        shown: Shown,
    },
}

// === impl Courier ===

impl Courier {
    pub(super) fn new(
        ca_file: Option<&Path>,
        timeout: Duration,
        signers: Signers,
        user_header: HeaderName,
        clock: SharedClock,
    ) -> Result<Self, Error> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config(ca_file, Alpn::Unset)?)
            .http1_only()
            .user_agent(concat!("daypass/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .timeout(timeout)
            .connect_timeout(timeout)
            .build()?;
        Ok(Self {
            client,
            signers,
            user_header,
            clock,
        })
    }

    /// Hands `envelope` over at `url`.
    pub(super) async fn post(
        &self,
        url: Url,
        delivery: &Delivery,
        user: &UserId,
        envelope: &Envelope,
    ) -> Tried {
        let now = self.clock.now();
        let headers = self.headers(delivery, user, envelope, now);
        let request = self.client.post(url).headers(headers);
        match request.body(envelope.body.to_vec()).send().await {
            Ok(answer) => judge(answer.status(), answer.headers(), now),
            Err(error) => Tried::Failed {
                what: in_words(&error).to_owned(),
                retry_after: None,
                shown: Shown::Fails,
            },
        }
    }

    fn headers(
        &self,
        delivery: &Delivery,
        user: &UserId,
        envelope: &Envelope,
        now: Timestamp,
    ) -> HeaderMap {
        let mut headers = envelope.headers.clone();
        let ours = [
            (&self.user_header, user.as_str()),
            (&PROVIDER, delivery.provider.as_str()),
            (&EVENT, delivery.name.as_str()),
        ];
        for (name, text) in ours {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name.clone(), value);
            }
        }
        self.signers
            .sign(&mut headers, &webhook_id(delivery), now, &envelope.body);
        headers
    }
}

/// The same over retries and replays; another for each user who gets the event, so that an app which
/// drops what it has seen drops nobody's.
pub fn webhook_id(delivery: &Delivery) -> String {
    format!("evt_{}.{}", delivery.event, delivery.id.0)
}

fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Tried {
    if status.is_success() {
        return Tried::Delivered;
    }
    let overwhelmed = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    let what = if status.is_redirection() {
        format!("the app answered {status}: redirects are not followed")
    } else {
        format!("the app answered {status}")
    };
    Tried::Failed {
        what,
        retry_after: retry_after(headers, now),
        shown: if overwhelmed {
            Shown::Fails
        } else {
            Shown::Answers
        },
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let at = Timestamp::from_millis(date.as_millisecond());
    Some(at.saturating_since(now))
}

/// Without the address, which may name the user.
fn in_words(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "the app did not answer in time"
    } else if error.is_connect() {
        "the app could not be reached"
    } else {
        "the connection to the app broke"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_445_412_420);

    fn judged(status: u16, retry_after: &str) -> Tried {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::try_from(retry_after).unwrap(),
        );
        judge(StatusCode::from_u16(status).unwrap(), &headers, NOW)
    }

    #[test]
    fn only_2xx_is_delivered() {
        for status in [200, 201, 202, 204] {
            assert!(matches!(judged(status, ""), Tried::Delivered), "{status}");
        }
        for status in [301, 307, 400, 401, 404, 409, 410, 429, 500, 503] {
            assert!(
                matches!(judged(status, ""), Tried::Failed { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn the_app_says_when_to_come_again_in_seconds_or_as_a_date() {
        let wait = |text| match judged(503, text) {
            Tried::Failed { retry_after, .. } => retry_after,
            Tried::Delivered => None,
        };
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        // RFC 9110's example, a minute from now.
        assert_eq!(
            wait("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::from_mins(1))
        );
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn what_the_app_refuses_does_not_speak_against_the_app() {
        let shown = |status| match judged(status, "") {
            Tried::Failed { shown, .. } => shown,
            Tried::Delivered => Shown::Answers,
        };
        assert_eq!(shown(404), Shown::Answers);
        assert_eq!(shown(429), Shown::Fails);
        assert_eq!(shown(502), Shown::Fails);
    }
}
