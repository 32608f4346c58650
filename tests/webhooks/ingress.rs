//! Ingress with webhooks on it, over real sockets, and what providers send there.

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::{ManualClock, Timestamp},
        ids::{ConnectionId, ConnectionKey, Generation, GrantId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::OsRandom,
        secret::{ReloadableSecret, Secret},
    },
    http::tls::install_crypto,
    provider::{
        ApiBase, Calls, Event, SharedProvider,
        calcom::{self, Calcom},
        calendly::{self, Calendly, WebhookScope},
    },
    store::{
        Delivery, DeliveryFilter, DeliveryStatus, Everything, Fence, Lookout, NewConnection,
        ReauthReason, SealedTokens,
        seal::{Key, KeyRing, Sealed},
        sqlite::{Options, Sqlite},
    },
    token::{Bearer, Error, TokenFuture, TokenSource},
    webhook::{
        Intake, Verdict, Witness,
        delivery::{self, Unobserved, deliver},
        intake::Parts,
    },
};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderName;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Notify};

use crate::world::{START, config};

pub(crate) const CALENDLY_KEY: &str = "calendly-signing-key";
pub(crate) const CALCOM_KEY: &str = "calcom-webhook-secret";

pub(crate) const ALICE: &str = "https://api.calendly.com/users/ALICE";
pub(crate) const BOB: &str = "https://api.calendly.com/users/BOB";

/// Ingress with webhooks on it, over a store in a file.
pub(crate) struct Ingress {
    pub(crate) url: String,
    pub(crate) store: Arc<dyn Everything>,
    pub(crate) clock: ManualClock,
    pub(crate) witness: Arc<Heard>,
    pub(crate) http: reqwest::Client,
    pub(crate) place: TempDir,
    /// Rung when something was accepted.
    accepted: Arc<Notify>,
}

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) verdicts: Mutex<Vec<Verdict>>,
    pub(crate) took: Mutex<Vec<(Vec<ConnectionKey>, String)>>,
}

/// Ends what runs when it is dropped.
pub(crate) struct Ending(Lifecycle);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Nobody has a token: intake needs none.
struct NoTokens;

// === impl Ingress ===

impl Ingress {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default(), true).await
    }

    pub(crate) async fn start_with(options: Options, has_keys: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        let path = place.path().join("daypass.db");
        let store = Sqlite::open_with(path, Arc::new(clock.clone()), options).unwrap();
        Self::over(Arc::new(store), clock, place, has_keys).await
    }

    /// Over any store; what it keeps in files is in `place`.
    pub(crate) async fn over(
        store: Arc<dyn Everything>,
        clock: ManualClock,
        place: TempDir,
        has_keys: bool,
    ) -> Self {
        install_crypto();
        let (witness, accepted) = (Arc::new(Heard::default()), Arc::new(Notify::new()));
        let key = Key::new("k1", &Secret::new([7; 32])).unwrap();
        let intake = Intake::new(Parts {
            config: config("http://127.0.0.1:9/"),
            max_body_bytes: 1 << 20,
            providers: providers(&clock, has_keys),
            store: Arc::clone(&store),
            tokens: Arc::new(NoTokens),
            keys: Arc::new(KeyRing::new("k1", vec![key]).unwrap()),
            accepted: Arc::clone(&accepted),
            witness: Arc::clone(&witness) as _,
            clock: Arc::new(clock.clone()),
            random: Arc::new(OsRandom),
            lifecycle: Lifecycle::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        drop(tokio::spawn(async move {
            axum::serve(listener, intake.router()).await.unwrap();
        }));
        Self {
            url,
            store,
            clock,
            witness,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            place,
            accepted,
        }
    }

    /// Delivers to the app at `url` until it is dropped.
    pub(crate) fn worker(&self, url: &str) -> Ending {
        let lifecycle = Lifecycle::new();
        let key = Key::new("k1", &Secret::new([7; 32])).unwrap();
        deliver(delivery::Parts {
            config: config(url),
            user_header: HeaderName::from_static("x-user-id"),
            ca_file: None,
            deliveries: Arc::clone(&self.store) as _,
            keys: Arc::new(KeyRing::new("k1", vec![key]).unwrap()),
            accepted: Arc::clone(&self.accepted),
            lookout: Lookout::alone(&(Arc::new(OsRandom) as _)),
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(OsRandom),
            lifecycle: lifecycle.clone(),
            observer: Arc::new(Unobserved),
        })
        .unwrap();
        Ending(lifecycle)
    }

    /// Connects `user` with `account`.
    pub(crate) async fn connect(
        &self,
        provider: &str,
        user: &str,
        account: Option<&str>,
    ) -> ConnectionKey {
        let key = ConnectionKey {
            provider: ProviderName::parse(provider).unwrap(),
            user: UserId::parse(user).unwrap(),
        };
        let saved = self.store.save(vec![NewConnection {
            key: key.clone(),
            id: ConnectionId::random(&OsRandom),
            grant: GrantId::random(&OsRandom),
            tokens: Some(SealedTokens {
                access: Sealed::from_bytes(b"access".to_vec()),
                refresh: Some(Sealed::from_bytes(b"refresh".to_vec())),
                renewed_at: START,
                access_expires_at: START.saturating_add(Duration::from_hours(2)),
                refresh_expires_at: None,
            }),
            external_id: account.map(str::to_owned),
            organization: None,
            managed_user_id: None,
            scope: None,
            fingerprint: None,
            at: START,
        }]);
        saved.await.unwrap();
        key
    }

    /// Marks the connection as needing its user.
    pub(crate) async fn break_grant(&self, key: &ConnectionKey) {
        let connection = self.store.load(key).await.unwrap().unwrap();
        let fence = Fence::of(&connection);
        self.store
            .mark_needs_reauth(&fence, ReauthReason::GrantRefused, START)
            .await
            .unwrap();
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Value) {
        let mut request = self.http.post(format!("{}/{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body.to_vec()).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Posts what Calendly signs at `at`.
    pub(crate) async fn calendly_at(&self, at: Timestamp, body: &[u8]) -> (u16, Value) {
        let signature = calendly_signature(CALENDLY_KEY, at, body);
        let headers = [("calendly-webhook-signature", signature.as_str())];
        self.post("calendly", &headers, body).await
    }

    pub(crate) async fn calendly(&self, event: &Value) -> u16 {
        let body = event.to_string();
        self.calendly_at(START, body.as_bytes()).await.0
    }

    pub(crate) async fn calcom(&self, body: &[u8]) -> u16 {
        let signature = hex::encode(hmac(CALCOM_KEY, &[body]));
        let headers = [("x-cal-signature-256", signature.as_str())];
        self.post("calcom", &headers, body).await.0
    }

    /// All deliveries, the oldest first, as user and status.
    pub(crate) async fn deliveries(&self) -> Vec<(Option<String>, DeliveryStatus)> {
        let found = self.all().await;
        let show = |found: Delivery| (found.user.map(|user| user.to_string()), found.status);
        found.into_iter().map(show).collect()
    }

    pub(crate) async fn all(&self) -> Vec<Delivery> {
        let filter = DeliveryFilter::default();
        let mut found = self.store.deliveries(&filter, None, 1000).await.unwrap();
        found.reverse();
        found
    }

    pub(crate) async fn users(&self) -> Vec<String> {
        let all = self.deliveries().await;
        all.into_iter().filter_map(|(user, _)| user).collect()
    }
}

fn providers(clock: &ManualClock, has_keys: bool) -> Vec<SharedProvider> {
    let calls = Calls::new(None, Duration::from_secs(5), Arc::new(clock.clone())).unwrap();
    let base = ApiBase::parse("http://127.0.0.1:9").unwrap();
    let secret =
        |text: &str| has_keys.then(|| ReloadableSecret::new(Secret::from(text.to_owned())));
    let url = |text: &str| text.parse().unwrap();
    let calendly = calendly::Config {
        name: ProviderName::parse("calendly").unwrap(),
        api_base: base.clone(),
        auth_base: base.clone(),
        client_id: None,
        client_secret: None,
        redirect_uri: None,
        scope: String::new(),
        authorize_params: Vec::new(),
        webhook_signing_key: secret(CALENDLY_KEY),
        webhook_scope: WebhookScope::User,
    };
    let calcom = calcom::Config {
        name: ProviderName::parse("calcom").unwrap(),
        api_base: base,
        authorize_url: url("http://127.0.0.1:9/authorize"),
        token_url: url("http://127.0.0.1:9/token"),
        client_id: None,
        client_secret: None,
        redirect_uri: None,
        scope: String::new(),
        platform_client_id: None,
        platform_client_secret: None,
        webhook_secret: secret(CALCOM_KEY),
        api_version: "2024-08-13".to_owned(),
    };
    vec![
        Arc::new(Calendly::new(calendly, calls.clone())),
        Arc::new(Calcom::new(calcom, calls)),
    ]
}

pub(crate) fn hmac(key: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn calendly_signature(key: &str, at: Timestamp, body: &[u8]) -> String {
    let t = at.as_secs().to_string();
    let mac = hmac(key, &[t.as_bytes(), b".", body]);
    format!("t={t},v1={}", hex::encode(mac))
}

/// An invitee of a meeting that `hosts` host, by a subscription of `creator`.
pub(crate) fn invitee(number: u32, creator: &str, hosts: &[&str]) -> Value {
    let hosts: Vec<Value> = hosts.iter().map(|host| json!({ "user": host })).collect();
    json!({
        "event": "invitee.created",
        "created_at": "2027-01-15T08:00:00.000000Z",
        "created_by": creator,
        "payload": {
            "uri": format!("https://api.calendly.com/scheduled_events/E1/invitees/I{number}"),
            "email": "guest@example.org",
            "name": "Guest",
            "status": "active",
            "event": "https://api.calendly.com/scheduled_events/E1",
            "rescheduled": false,
            "scheduled_event": {
                "uri": "https://api.calendly.com/scheduled_events/E1",
                "name": "Intro",
                "status": "active",
                "start_time": "2027-02-01T10:00:00.000000Z",
                "end_time": "2027-02-01T10:30:00.000000Z",
                "event_memberships": hosts,
            },
        },
    })
}

pub(crate) fn pending(user: &str) -> (Option<String>, DeliveryStatus) {
    (Some(user.to_owned()), DeliveryStatus::Pending)
}

pub(crate) const UNROUTED: (Option<String>, DeliveryStatus) = (None, DeliveryStatus::Unrouted);

// === impl Heard, NoTokens ===

impl Witness for Heard {
    fn judged(&self, _provider: &ProviderName, verdict: Verdict) {
        self.verdicts.lock().push(verdict);
    }

    fn took(&self, recipients: &[ConnectionKey], event: &Event) {
        let heard = (recipients.to_vec(), event.name.clone());
        self.took.lock().push(heard);
    }
}

impl TokenSource for NoTokens {
    fn cached(&self, _: &ProviderName, _: &str) -> Option<Arc<Bearer>> {
        None
    }

    fn bearer(&self, key: ConnectionKey) -> TokenFuture {
        Box::pin(async move { Err(Error::NotConnected { key }) })
    }

    fn newer_than(&self, key: ConnectionKey, _: Generation) -> TokenFuture {
        self.bearer(key)
    }

    fn account_gone(&self, _: ConnectionKey, _: &Arc<Bearer>) {}
}
