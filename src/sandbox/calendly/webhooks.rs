//! Deliveries (§4, §5): signed, retried with growing delay for 24 hours, then the subscription is
//! disabled for good.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header::USER_AGENT};
use serde_json::json;
use tokio::time::sleep;

use super::{Calendly, event::News, state::State, subscriptions::Subscription};
use crate::sandbox::{dates, deliver::Parcel, jwt::hmac_hex};

/// The first retry comes after this; each later one after twice as long. Not documented: observed
/// only is that the delay grows.
const FIRST_DELAY: Duration = Duration::from_mins(1);
const LONGEST_DELAY: Duration = Duration::from_hours(4);
/// §4.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// `t=…,v1=…` over `t`, a dot and the raw body (§5.3).
pub(crate) fn signature(key: &str, at_secs: i64, body: &str) -> String {
    let signed = format!("{at_secs}.{body}");
    format!(
        "t={at_secs},v1={}",
        hmac_hex(key.as_bytes(), signed.as_bytes())
    )
}

// === impl Subscription ===

impl Subscription {
    fn hears(&self, news: &News, state: &State) -> bool {
        let concerned = match &self.user {
            Some(user) => news.hosts.contains(user),
            None => news.hosts.iter().any(|host| {
                let user = state.users.get(host);
                user.is_some_and(|user| {
                    user.organization == self.organization
                        && (self.group.is_none() || user.group == self.group)
                })
            }),
        };
        !self.disabled && concerned && self.events.contains(&news.event)
    }
}

// === impl Calendly ===

impl Calendly {
    /// Sends `news` to everyone who listens; how many that are.
    pub(crate) fn tell(self: &Arc<Self>, news: &News) -> usize {
        let base = &self.stage.base_url;
        let listening: Vec<_> = {
            let state = self.state.lock();
            let hears = |one: &&Subscription| one.hears(news, &state);
            state.subscriptions.iter().filter(hears).cloned().collect()
        };
        for subscription in &listening {
            // §5.1: `created_by` is the creator of the subscription, whoever the host is.
            let body = json!({
                "event": news.event,
                "created_at": dates::micros(news.at),
                "created_by": format!("{base}/users/{}", subscription.creator),
                "payload": news.payload,
            });
            let parcel = Parcel {
                url: subscription.url.clone(),
                event: news.event.clone(),
                body: body.to_string(),
                subscription: subscription.id.clone(),
            };
            let (calendly, key) = (Arc::clone(self), subscription.key.clone());
            self.stage.lifecycle.spawn_until_drain(async move {
                calendly.insist(&parcel, key).await;
            });
        }
        listening.len()
    }

    async fn insist(&self, parcel: &Parcel, key: Option<String>) {
        let mut waited = Duration::ZERO;
        let mut delay = FIRST_DELAY;
        let mut attempt = 1;
        while !self.attempt(parcel, key.as_deref(), attempt).await {
            let compression = self
                .stage
                .switch(|switches| switches.webhook_compression.max(1));
            self.failed(&parcel.subscription, waited >= GIVE_UP_AFTER);
            if waited >= GIVE_UP_AFTER {
                return;
            }
            sleep(delay / compression).await;
            waited += delay;
            delay = (delay * 2).min(LONGEST_DELAY);
            attempt += 1;
        }
        self.recovered(&parcel.subscription);
    }

    /// Each attempt is signed anew, with the time of its sending. True also if nobody listens any
    /// more: a deleted subscription ends its retries.
    async fn attempt(&self, parcel: &Parcel, key: Option<&str>, attempt: u32) -> bool {
        let alive = {
            let state = self.state.lock();
            let mut all = state.subscriptions.iter();
            all.any(|one| one.id == parcel.subscription && !one.disabled)
        };
        if !alive {
            return true;
        }
        let app_key = self
            .stage
            .switch(|switches| switches.calendly.app_signing_key.clone());
        let key = key.map(ToOwned::to_owned).or(app_key);
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("Calendly"));
        // §5.3: no header at all if no key applies.
        if let Some(key) = key {
            let signature = signature(&key, self.stage.now().as_secs(), &parcel.body);
            if let Ok(value) = HeaderValue::from_str(&signature) {
                headers.insert("calendly-webhook-signature", value);
            }
        }
        self.stage.deliver(parcel, headers, attempt).await
    }

    fn failed(&self, subscription: &str, for_good: bool) {
        let now = self.stage.now();
        let mut state = self.state.lock();
        let mut all = state.subscriptions.iter_mut();
        if let Some(one) = all.find(|one| one.id == subscription) {
            one.retry_started = one.retry_started.or(Some(now));
            one.disabled |= for_good;
        }
    }

    fn recovered(&self, subscription: &str) {
        let mut state = self.state.lock();
        let mut all = state.subscriptions.iter_mut();
        if let Some(one) = all.find(|one| one.id == subscription && !one.disabled) {
            one.retry_started = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of §5.3.
    #[test]
    fn the_signature_is_the_documented_one() {
        let body = concat!(
            r#"{"event":"invitee.created","created_at":"2023-11-14T22:13:20.000000Z","#,
            r#""created_by":"https://api.calendly.com/users/AAA","payload":{"email":"a@example.com"}}"#
        );
        assert_eq!(
            signature("calendly_key", 1_700_000_000, body),
            "t=1700000000,v1=d6e180d65490baad58eb05bee811735ef6e1d522baaa05b7ee56482716cf700d"
        );
    }
}
