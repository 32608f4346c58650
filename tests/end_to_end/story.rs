//! The other direction, told as people check it by hand: users connect, are booked, and each webhook
//! arrives at its own user's handler.

use std::{net::TcpListener, time::Duration};

use daypass::sandbox::{Action, BookingOrder, NewUser};
use http::{StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use crate::{
    app::{Answer as Reply, App, Taken},
    sidecar::{Answer, Sidecar, until},
    world::World,
};

/// `whsec_` and 24 bytes.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A world whose sidecars take webhooks at one address and deliver to one app.
struct Stage {
    world: World,
    app: App,
    public: String,
}

impl Stage {
    async fn open(settings: &[&str]) -> Self {
        Self::open_below("", settings).await
    }

    /// With `path` at the end of the public address, which nobody takes away.
    async fn open_below(path: &str, settings: &[&str]) -> Self {
        let app = App::start().await;
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let public = format!("http://{address}{path}");
        let mut world = World::open()
            .await
            .with(&format!("ingress.listen={address}"))
            .with(&format!("ingress.public_url={public}"))
            .with(&format!("ingress.allowed_return_origins={}", app.url))
            .with(&format!("app.webhook_url={}/hooks", app.url))
            .with(&format!("app.signing_secret={SECRET}"));
        for setting in settings {
            world = world.with(setting);
        }
        Self { world, app, public }
    }

    /// Lets `user` of the app connect at Calendly as the sandbox's `name`; where consent was asked for.
    async fn connect_at_calendly(&self, sidecar: &Sidecar, user: &str, name: &str) -> Url {
        let consent = |name: Option<String>| {
            self.world
                .sandbox
                .calendly()
                .set(|switches| switches.consent_as = name);
        };
        consent(Some(name.to_owned()));
        let return_to = json!({ "return_to": format!("{}/settings", self.app.url) });
        let link = sidecar.request(http::Method::POST, user, "/-/calendly/connect-link");
        let link = Answer::read(link.json(&return_to)).await;
        let link = link.must_be(200).json()["url"].as_str().unwrap().to_owned();
        assert!(link.starts_with(&self.public), "{link}");
        let first = self.world.http.get(link).send().await.unwrap();
        assert_eq!(first.status(), StatusCode::FOUND);
        let cookie = first.headers()[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let authorize: Url = location(&first).parse().unwrap();
        let consented = self.world.http.get(authorize.clone()).send().await.unwrap();
        let callback = self.world.http.get(location(&consented));
        let back = callback
            .header(header::COOKIE, cookie)
            .send()
            .await
            .unwrap();
        assert_eq!(back.status(), StatusCode::SEE_OTHER, "{back:?}");
        let returned: Url = location(&back).parse().unwrap();
        assert_eq!(returned.path(), "/settings");
        assert!(
            returned
                .query()
                .unwrap_or_default()
                .contains("connection=connected"),
            "{returned}"
        );
        consent(None);
        authorize
    }

    /// Waits until `count` webhook subscriptions were made by `sidecar`.
    async fn until_subscribed(&self, sidecar: &Sidecar, count: usize) {
        until("webhooks are subscribed to", async || {
            let lines = sidecar.log.lines();
            let made = lines
                .iter()
                .filter(|line| line["message"] == "webhooks are subscribed to");
            (made.count() >= count).then_some(())
        })
        .await;
    }

    fn book_at_calendly(&self, name: &str) {
        let order = BookingOrder {
            action: Action::Create,
            user: name.to_owned(),
            ..BookingOrder::default()
        };
        self.world.sandbox.calendly().book(&order).unwrap();
    }

    /// The users to whom `invitee.created` came so far, once there are `count`.
    async fn until_invited(&self, count: usize) -> Vec<String> {
        until("the bookings arrive at the app", async || {
            let came = invited(&self.app.taken());
            (came.len() >= count).then_some(came)
        })
        .await
    }
}

fn location(answer: &reqwest::Response) -> String {
    answer.headers()[header::LOCATION]
        .to_str()
        .unwrap()
        .to_owned()
}

fn invited(taken: &[Taken]) -> Vec<String> {
    let of_bookings = taken
        .iter()
        .filter(|taken| taken.header("daypass-event") == "invitee.created");
    of_bookings
        .map(|taken| taken.header("x-user-id").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_booking_arrives_at_its_own_user_through_connect_disconnect_and_reconnect() {
    let stage = Stage::open(&[]).await;
    let sidecar = stage.world.sidecar().await;
    let authorize = stage.connect_at_calendly(&sidecar, "A", "anna").await;
    assert!(
        authorize.query().unwrap().contains("prompt=consent"),
        "{authorize}"
    );
    let connection = sidecar.connection("A", "calendly").await.json();
    let uri = connection["external_id"].as_str().unwrap();
    assert!(uri.contains("/users/"), "{connection}");
    assert!(!connection["organization"].is_null(), "{connection}");
    sidecar.get("A", "/calendly/users/me").await.must_be(200);

    stage.until_subscribed(&sidecar, 1).await;
    stage.book_at_calendly("anna");
    assert_eq!(stage.until_invited(1).await, ["A"]);
    let delivered = stage.app.taken();
    let delivered = delivered
        .iter()
        .find(|taken| taken.header("daypass-event") == "invitee.created")
        .unwrap();
    assert!(!delivered.header("calendly-webhook-signature").is_empty());
    assert!(delivered.header("webhook-signature").starts_with("v1,"));
    let body: Value = serde_json::from_slice(&delivered.body).unwrap();
    assert_eq!(body["created_by"], uri);

    stage.connect_at_calendly(&sidecar, "B", "ben").await;
    stage.until_subscribed(&sidecar, 2).await;
    stage.book_at_calendly("ben");
    assert_eq!(stage.until_invited(2).await, ["A", "B"]);

    let revoke = ["connections", "revoke", "calendly", "A"];
    stage.world.done(&revoke, "").await;
    sidecar
        .get("A", "/calendly/users/me")
        .await
        .must_be_problem(424, "not-connected");
    let problem = sidecar.get("A", "/calendly/users/me").await.json();
    let again = problem["connect_url"].as_str().unwrap();
    assert!(again.starts_with(&stage.public), "{problem}");

    let authorize = stage.connect_at_calendly(&sidecar, "A", "anna").await;
    assert!(
        authorize.query().unwrap().contains("prompt=consent"),
        "{authorize}"
    );
    stage.until_subscribed(&sidecar, 3).await;
    stage.book_at_calendly("anna");
    assert_eq!(stage.until_invited(3).await, ["A", "B", "A"]);

    let told: Vec<String> = stage
        .app
        .taken()
        .iter()
        .map(|taken| taken.header("daypass-event").to_owned())
        .collect();
    for event in [
        "connection.connected",
        "connection.disconnected",
        "meetings.synced",
    ] {
        assert!(told.iter().any(|told| told == event), "{event}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organizations_subscription_brings_each_host_their_own() {
    let stage = Stage::open(&["providers.calendly.webhook_scope=organization"]).await;
    let sidecar = stage.world.sidecar().await;
    stage.connect_at_calendly(&sidecar, "A", "anna").await;
    let colleague = NewUser {
        colleague_of: Some("anna".to_owned()),
        free_plan: true,
        ..NewUser::named("ben")
    };
    stage
        .world
        .sandbox
        .calendly()
        .create_user(&colleague)
        .unwrap();
    stage.connect_at_calendly(&sidecar, "B", "ben").await;
    stage.until_subscribed(&sidecar, 1).await;
    stage.book_at_calendly("ben");
    assert_eq!(stage.until_invited(1).await, ["B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_path_of_the_public_address_users_connect_and_webhooks_arrive() {
    let stage = Stage::open_below("/daypass", &[]).await;
    let sidecar = stage.world.sidecar().await;
    stage.connect_at_calendly(&sidecar, "A", "anna").await;
    stage.until_subscribed(&sidecar, 1).await;
    stage.book_at_calendly("anna");
    assert_eq!(stage.until_invited(1).await, ["A"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_sidecar_had_acknowledged_is_delivered_by_another() {
    let stage = Stage::open(&[]).await;
    let first = stage.world.sidecar().await;
    stage.connect_at_calendly(&first, "A", "anna").await;
    stage.until_subscribed(&first, 1).await;
    until("the app has heard of the connection", async || {
        let taken = stage.app.taken();
        (taken.len() >= 2).then_some(())
    })
    .await;
    stage.app.answers([Reply::Held]);
    stage.book_at_calendly("anna");
    stage.until_invited(1).await;
    first.kill().await;
    let second = stage.world.sidecar().await;
    let came = until_within(Duration::from_secs(40), async || {
        let came = invited(&stage.app.taken());
        (came.len() >= 2).then_some(came)
    })
    .await;
    assert_eq!(came, ["A", "A"]);
    let taken = stage.app.taken();
    let ids: Vec<&str> = taken
        .iter()
        .filter(|taken| taken.header("daypass-event") == "invitee.created")
        .map(|taken| taken.header("webhook-id"))
        .collect();
    assert_eq!(ids[0], ids[1], "a duplicate has the same id");
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_webhooks_in_the_plan_a_user_connects_all_the_same_and_the_connection_says_so() {
    let stage = Stage::open(&[]).await;
    let calendly = stage.world.sandbox.calendly();
    calendly.set(|switches| switches.calendly.free_plan = true);
    let sidecar = stage.world.sidecar().await;
    stage.connect_at_calendly(&sidecar, "A", "anna").await;
    sidecar.get("A", "/calendly/users/me").await.must_be(200);
    let standing = async |what: &str, word: &str, told: &str| {
        until("the connection says how it stands", async || {
            let connection = sidecar.connection("A", "calendly").await.json();
            let standing = connection[what].clone();
            (standing[word] == told).then_some(standing)
        })
        .await
    };
    let webhooks = standing("subscription", "status", "unavailable").await;
    let reason = webhooks["reason"].as_str().unwrap();
    assert!(reason.contains("plan has no webhooks"), "{webhooks}");
    standing("sync", "stage", "done").await;
}

async fn until_within<T>(limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, looking).await.unwrap()
}
