//! Webhook deliveries: one POST, never to another machine, never after a redirect.

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::stage::{Stage, is_loopback};
use crate::base::clock::Timestamp;

/// One attempt to deliver a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// When it ended, by the machine's clock.
    pub at: Timestamp,
    /// Where to.
    pub url: String,
    /// The event, in the provider's words.
    pub event: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The receiver's status; 0 if there was none.
    pub status: u16,
    /// The id of the subscription.
    pub subscription: String,
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) url: String,
    pub(crate) event: String,
    pub(crate) body: String,
    pub(crate) subscription: String,
}

// === impl Stage ===

impl Stage {
    /// The attempts so far, oldest first.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.sent.lock().clone()
    }

    /// Sends `parcel` once; whether the receiver took it. A redirect is a failure.
    pub(crate) async fn deliver(&self, parcel: &Parcel, headers: HeaderMap, attempt: u32) -> bool {
        let status = if is_loopback(&parcel.url) {
            let request = self
                .http
                .post(&parcel.url)
                .headers(headers)
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(parcel.body.clone());
            match request.send().await {
                Ok(response) => response.status().as_u16(),
                Err(_) => 0,
            }
        } else {
            0
        };
        self.sent.lock().push(Delivery {
            at: self.clock.now(),
            url: parcel.url.clone(),
            event: parcel.event.clone(),
            attempt,
            status,
            subscription: parcel.subscription.clone(),
        });
        (200..300).contains(&status)
    }
}
