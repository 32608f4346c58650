//! Intake over real sockets: what is taken, what is refused, and whose it becomes.

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::{ManualClock, Timestamp},
        ids::{ConnectionId, ConnectionKey, EventId, Generation, ProviderName, UserId},
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
        Deliveries, Delivery, DeliveryFilter, DeliveryStatus, Fence, NewConnection, ReauthReason,
        SealedTokens, Store,
        seal::{Key, KeyRing, Sealed},
        sqlite::{Options, Sqlite},
    },
    token::{Bearer, Error, TokenFuture, TokenSource},
    webhook::{Intake, Verdict, Witness, intake::Parts},
};
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Notify};

use crate::world::{START, config};

const CALENDLY_KEY: &str = "calendly-signing-key";
const CALCOM_KEY: &str = "calcom-webhook-secret";

const ALICE: &str = "https://api.calendly.com/users/ALICE";
const BOB: &str = "https://api.calendly.com/users/BOB";

/// Ingress with webhooks on it, over a store in a file.
struct Ingress {
    url: String,
    store: Arc<Sqlite>,
    clock: ManualClock,
    witness: Arc<Heard>,
    http: reqwest::Client,
    place: TempDir,
}

#[derive(Default)]
struct Heard {
    verdicts: Mutex<Vec<Verdict>>,
    took: Mutex<Vec<(Vec<ConnectionKey>, String)>>,
}

/// Nobody has a token: intake needs none.
struct NoTokens;

// === impl Ingress ===

impl Ingress {
    async fn start() -> Self {
        Self::start_with(Options::default(), true).await
    }

    async fn start_with(options: Options, has_keys: bool) -> Self {
        install_crypto();
        let place = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        let path = place.path().join("daypass.db");
        let store = Sqlite::open_with(path, Arc::new(clock.clone()), options).unwrap();
        let (store, witness) = (Arc::new(store), Arc::new(Heard::default()));
        let key = Key::new("k1", &Secret::new([7; 32])).unwrap();
        let intake = Intake::new(Parts {
            config: config("http://127.0.0.1:9/"),
            max_body_bytes: 1 << 20,
            providers: providers(&clock, has_keys),
            store: Arc::clone(&store) as _,
            tokens: Arc::new(NoTokens),
            keys: Arc::new(KeyRing::new("k1", vec![key]).unwrap()),
            accepted: Arc::new(Notify::new()),
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
        }
    }

    /// Connects `user` with `account`.
    async fn connect(&self, provider: &str, user: &str, account: Option<&str>) -> ConnectionKey {
        let key = ConnectionKey {
            provider: ProviderName::parse(provider).unwrap(),
            user: UserId::parse(user).unwrap(),
        };
        let saved = self.store.save(vec![NewConnection {
            key: key.clone(),
            id: ConnectionId::random(&OsRandom),
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
    async fn break_grant(&self, key: &ConnectionKey) {
        let connection = self.store.load(key).await.unwrap().unwrap();
        let fence = Fence::of(&connection);
        self.store
            .mark_needs_reauth(&fence, ReauthReason::GrantRefused, START)
            .await
            .unwrap();
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
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
    async fn calendly_at(&self, at: Timestamp, body: &[u8]) -> (u16, Value) {
        let signature = calendly_signature(CALENDLY_KEY, at, body);
        let headers = [("calendly-webhook-signature", signature.as_str())];
        self.post("calendly", &headers, body).await
    }

    async fn calendly(&self, event: &Value) -> u16 {
        let body = event.to_string();
        self.calendly_at(START, body.as_bytes()).await.0
    }

    async fn calcom(&self, body: &[u8]) -> u16 {
        let signature = hex::encode(hmac(CALCOM_KEY, &[body]));
        let headers = [("x-cal-signature-256", signature.as_str())];
        self.post("calcom", &headers, body).await.0
    }

    /// All deliveries, the oldest first, as user and status.
    async fn deliveries(&self) -> Vec<(Option<String>, DeliveryStatus)> {
        let found = self.all().await;
        let show = |found: Delivery| (found.user.map(|user| user.to_string()), found.status);
        found.into_iter().map(show).collect()
    }

    async fn all(&self) -> Vec<Delivery> {
        let filter = DeliveryFilter::default();
        let mut found = self.store.deliveries(&filter, None, 1000).await.unwrap();
        found.reverse();
        found
    }

    async fn users(&self) -> Vec<String> {
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

fn hmac(key: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn calendly_signature(key: &str, at: Timestamp, body: &[u8]) -> String {
    let t = at.as_secs().to_string();
    let mac = hmac(key, &[t.as_bytes(), b".", body]);
    format!("t={t},v1={}", hex::encode(mac))
}

/// An invitee of a meeting that `hosts` host, by a subscription of `creator`.
fn invitee(number: u32, creator: &str, hosts: &[&str]) -> Value {
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

fn pending(user: &str) -> (Option<String>, DeliveryStatus) {
    (Some(user.to_owned()), DeliveryStatus::Pending)
}

const UNROUTED: (Option<String>, DeliveryStatus) = (None, DeliveryStatus::Unrouted);

#[tokio::test]
async fn a_genuine_event_is_durable_for_its_host_before_it_is_acknowledged() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    ingress.connect("calendly", "bob", Some(BOB)).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 200);
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
    let took = ingress.witness.took.lock().clone();
    assert_eq!(took.len(), 1);
    assert_eq!(took[0].1, "invitee.created");
}

/// W1: Nango skipped verification where no secret was configured.
#[tokio::test]
async fn without_a_key_everything_is_refused() {
    let ingress = Ingress::start_with(Options::default(), false).await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 401);
    assert_eq!(ingress.calcom(b"{}").await, 401);
    let unsigned = [("x-cal-signature-256", "no-secret-provided")];
    assert_eq!(ingress.post("calcom", &unsigned, b"{}").await.0, 401);
    assert_eq!(ingress.deliveries().await, []);
}

#[tokio::test]
async fn what_is_not_proven_genuine_is_refused_and_leaves_nothing() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let body = invitee(1, ALICE, &[ALICE]).to_string();
    let body = body.as_bytes();
    let good = calendly_signature(CALENDLY_KEY, START, body);
    let forged = calendly_signature("another key", START, body);
    let other = calendly_signature(CALENDLY_KEY, START, b"{}");
    let name = "calendly-webhook-signature";
    let cases: [(&str, Vec<(&str, &str)>); 7] = [
        ("unsigned", vec![]),
        ("signed by another key", vec![(name, &forged)]),
        ("signed for another body", vec![(name, &other)]),
        ("signed twice", vec![(name, &good), (name, &good)]),
        ("empty", vec![(name, "")]),
        ("nonsense", vec![(name, "t=now,v1=zz")]),
        ("only a time", vec![(name, "t=1800000000")]),
    ];
    for (what, headers) in cases {
        let (status, problem) = ingress.post("calendly", &headers, body).await;
        assert_eq!(
            (status, &problem["type"]),
            (401, &json!("urn:daypass:problem:bad-signature")),
            "{what}"
        );
    }
    let unsigned = [("x-cal-signature-256", "no-secret-provided")];
    assert_eq!(ingress.post("calcom", &unsigned, b"{}").await.0, 401);
    assert_eq!(ingress.deliveries().await, []);
}

#[tokio::test]
async fn a_signature_is_good_for_three_minutes_either_way() {
    let ingress = Ingress::start().await;
    let body = invitee(1, ALICE, &[ALICE]).to_string();
    let minute = Duration::from_mins(1);
    for (at, expected) in [
        (START.saturating_sub(minute * 4), 401),
        (START.saturating_add(minute * 4), 401),
        (START.saturating_sub(minute * 2), 202),
        (START.saturating_add(minute * 2), 202),
    ] {
        assert_eq!(
            ingress.calendly_at(at, body.as_bytes()).await.0,
            expected,
            "{at}"
        );
    }
}

#[tokio::test]
async fn what_has_no_address_size_or_form_is_refused() {
    let ingress = Ingress::start().await;
    let headers = [];
    assert_eq!(ingress.post("zoom", &headers, b"{}").await.0, 404);
    assert_eq!(
        ingress
            .post("calendly/no-such-route", &headers, b"{}")
            .await
            .0,
        404
    );
    let large = vec![b' '; 10 << 20];
    // The answer may come before all of it was sent.
    let request = ingress
        .http
        .post(format!("{}/calendly", ingress.url))
        .body(large);
    if let Ok(answer) = request.send().await {
        assert_eq!(answer.status().as_u16(), 413);
    }
    assert_eq!(ingress.calendly_at(START, b"no json").await.0, 400);
    assert_eq!(ingress.deliveries().await, []);
}

#[tokio::test]
async fn an_event_that_nobody_has_heard_of_is_delivered_all_the_same() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let mut event = invitee(1, ALICE, &[ALICE]);
    event["event"] = json!("invitee.teleported");
    assert_eq!(ingress.calendly(&event).await, 200);
    assert_eq!(ingress.all().await[0].name, "invitee.teleported");
    // Of another shape altogether: kept, and nobody's.
    assert_eq!(ingress.calendly(&json!({ "hello": "world" })).await, 202);
    assert_eq!(ingress.deliveries().await, [pending("alice"), UNROUTED]);
}

/// W5: duplicates were told by an unsigned header elsewhere. W11: two checks raced.
#[tokio::test]
async fn the_same_content_is_one_event_however_often_and_whenever_it_comes() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let body = invitee(1, ALICE, &[ALICE]).to_string();
    let posts = (0..20).map(|second| {
        let at = START.saturating_add(Duration::from_secs(second));
        ingress.calendly_at(at, body.as_bytes())
    });
    let answers = join_all(posts).await;
    assert!(
        answers.iter().all(|(status, _)| *status == 200),
        "{answers:?}"
    );
    let accepted = answers
        .iter()
        .filter(|(_, body)| body["status"] == "accepted")
        .count();
    assert_eq!(accepted, 1, "{answers:?}");
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
    assert_eq!(ingress.witness.took.lock().len(), 1);
}

/// W6: Pipedream dropped all invitees of a group event but the first.
#[tokio::test]
async fn each_invitee_of_a_group_event_is_an_event() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    for number in 1..=3 {
        assert_eq!(
            ingress.calendly(&invitee(number, ALICE, &[ALICE])).await,
            200
        );
    }
    assert_eq!(ingress.users().await, ["alice", "alice", "alice"]);
}

/// W8: Nango took who subscribed for the host. W9: the seed of this project gave it to anybody active.
#[tokio::test]
async fn an_event_is_its_hosts_and_not_of_who_subscribed() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    ingress.connect("calendly", "bob", Some(BOB)).await;
    ingress.connect("calendly", "carol", None).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[BOB])).await, 200);
    assert_eq!(ingress.users().await, ["bob"]);
    assert_eq!(
        ingress.calendly(&invitee(2, ALICE, &[ALICE, BOB])).await,
        200
    );
    let mut users = ingress.users().await;
    users.sort();
    assert_eq!(users, ["alice", "bob", "bob"]);
    let stranger = "https://api.calendly.com/users/NOBODY";
    assert_eq!(ingress.calendly(&invitee(3, ALICE, &[stranger])).await, 202);
    assert_eq!(ingress.users().await.len(), 3, "it is given to nobody");
}

#[tokio::test]
async fn several_users_with_one_account_each_get_theirs() {
    let ingress = Ingress::start().await;
    for user in ["alice", "alice-too"] {
        ingress.connect("calendly", user, Some(ALICE)).await;
    }
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 200);
    let mut users = ingress.users().await;
    users.sort();
    assert_eq!(users, ["alice", "alice-too"]);
    let events: Vec<EventId> = ingress
        .all()
        .await
        .iter()
        .map(|found| found.event)
        .collect();
    assert_eq!(events[0], events[1], "one event, two deliveries");
}

#[tokio::test]
async fn an_event_of_a_broken_connection_is_kept_and_delivered_to_nobody() {
    let ingress = Ingress::start().await;
    let alice = ingress.connect("calendly", "alice", Some(ALICE)).await;
    ingress.connect("calendly", "bob", Some(BOB)).await;
    ingress.break_grant(&alice).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 202);
    assert_eq!(ingress.deliveries().await, [UNROUTED]);
    // It waits for whoever connects the account.
    assert_eq!(ingress.store.adopt(ALICE, &alice).await.unwrap(), 1);
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
}

#[tokio::test]
async fn a_store_that_takes_no_more_is_503_and_the_event_is_taken_when_it_does() {
    let mut options = Options::default();
    options.max_pages = Some(120);
    let ingress = Ingress::start_with(options, true).await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let mut number = 0;
    let full = loop {
        number += 1;
        let mut event = invitee(number, ALICE, &[ALICE]);
        event["payload"]["text"] = json!("x".repeat(20_000));
        let body = event.to_string();
        match ingress.calendly_at(START, body.as_bytes()).await {
            (200, _) => assert!(number < 1000, "it never fills"),
            other => break other,
        }
    };
    assert_eq!(full.0, 503);
    assert_eq!(full.1["type"], "urn:daypass:problem:store-unavailable");
    let kept = ingress.users().await.len();
    assert_eq!(
        u32::try_from(kept).unwrap(),
        number - 1,
        "what was acknowledged is there, and nothing else"
    );
}

#[tokio::test]
async fn events_of_calcom_go_to_the_organizer_and_flat_ones_to_their_user() {
    let ingress = Ingress::start().await;
    ingress.connect("calcom", "alice", Some("7")).await;
    ingress.connect("calcom", "bob", Some("8")).await;
    // W4: spaces and order as nobody would write them again.
    let booking = br#"{ "triggerEvent":"BOOKING_CREATED",  "createdAt":"2027-01-15T08:00:00Z",
        "payload":{"uid":"u1","organizer":{"id":8,"email":"bob@example.org"}, "title":"Intro",
        "startTime":"2027-02-01T10:00:00Z","endTime":"2027-02-01T10:30:00Z","attendees":[]}}"#;
    assert_eq!(ingress.calcom(booking).await, 200);
    let started = br#"{"triggerEvent":"MEETING_STARTED","id":1,"uid":"u2","userId":7,
        "createdAt":"2027-01-15T08:00:00Z","startTime":"2027-02-01T10:00:00Z",
        "endTime":"2027-02-01T10:30:00Z","status":"ACCEPTED","user":{"email":"alice@example.org"}}"#;
    assert_eq!(ingress.calcom(started).await, 200);
    assert_eq!(
        ingress.deliveries().await,
        [pending("bob"), pending("alice")]
    );
}

#[tokio::test]
async fn what_is_kept_does_not_show_who_took_part() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 200);
    ingress.clock.advance(Duration::from_secs(1));
    for entry in std::fs::read_dir(ingress.place.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let shows = bytes.windows(17).any(|part| part == b"guest@example.org");
        assert!(!shows, "the store shows personal data");
    }
}

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

    fn account_gone(&self, _: ConnectionKey, _: Generation) {}
}
