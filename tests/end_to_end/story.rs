//! The other direction, told as people check it by hand, with two sidecars on one store: users connect,
//! are booked, and each webhook arrives at its own user's handler; then one sidecar is killed between
//! acknowledging and delivering.

use daypass::{
    base::steps::Step,
    sandbox::{Action, BookingOrder, Call, Killed, NewUser, Revoke},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    arrivals::Happened,
    sidecar::until,
    stage::{CALCOM, CALENDLY, Holdable, Stage},
    stores::On,
};

/// Two sidecars of one stage; providers and browsers come to the first.
async fn two(stage: &Stage) -> (Holdable, Holdable) {
    let first = stage.holdable("first").await;
    let second = stage.holdable("second").await;
    let addresses = [&first.sidecar.ingress, &second.sidecar.ingress];
    stage.front.lead_to(&addresses.map(String::as_str));
    (first, second)
}

/// Kills `first` with a line claimed whose event its provider thinks delivered; what happens meanwhile.
async fn kill_between_acknowledging_and_delivering(
    stage: &Stage,
    first: Holdable,
    provider: &'static str,
    name: &str,
    user: &'static str,
) -> Happened {
    first.hold_at(Step::Claimed);
    // The other one may be faster, and is as good.
    let mut last = None;
    while first.held_at(Step::Claimed) == 0 {
        let happened = stage.book_and_wait(provider, name, &[user]).await;
        until("held, or delivered", async || {
            let over = first.held_at(Step::Claimed) > 0 || stage.copies(&happened, user) > 0;
            over.then_some(())
        })
        .await;
        last = Some(happened);
    }
    let last = last.unwrap();
    assert_eq!(stage.copies(&last, user), 0, "it was delivered before");
    first.sidecar.kill().await;
    last
}

async fn calendly(on: On) {
    let stage = Stage::open(on, &[]).await;
    let (first, second) = two(&stage).await;
    let both = [&first.sidecar, &second.sidecar];
    let asked = stage.connect(both[0], CALENDLY, "A", "anna").await;
    let consent = |asked: &url::Url| asked.query().unwrap().contains("prompt=consent");
    assert!(consent(&asked), "{asked}");
    let connection = both[1].connection("A", CALENDLY).await.json();
    let uri = connection["external_id"].as_str().unwrap();
    assert!(uri.contains("/users/"), "{connection}");
    let organization = connection["organization"].as_str().unwrap();
    assert!(organization.contains("/organizations/"), "{connection}");
    for sidecar in both {
        sidecar.get("A", "/calendly/users/me").await.must_be(200);
    }
    stage.until_subscribed(&both, 1).await;
    stage.book_and_wait(CALENDLY, "anna", &["A"]).await;
    stage.judge().await;

    stage.connect(both[1], CALENDLY, "B", "ben").await;
    stage.until_subscribed(&both, 2).await;
    stage.book_and_wait(CALENDLY, "ben", &["B"]).await;
    stage.book_and_wait(CALENDLY, "anna", &["A"]).await;
    stage.judge().await;

    let revoke = ["connections", "revoke", CALENDLY, "A"];
    stage.world.done(&revoke, "").await;
    for sidecar in both {
        let refused = until("the disconnection is seen", async || {
            let answer = sidecar.get("A", "/calendly/users/me").await;
            (answer.status == 424).then_some(answer)
        })
        .await;
        refused.must_be_problem(424, "not-connected");
        let again = refused.json()["connect_url"].as_str().unwrap().to_owned();
        assert!(again.starts_with(&stage.front.url), "{again}");
    }
    let asked = stage.connect(both[1], CALENDLY, "A", "anna").await;
    assert!(consent(&asked), "{asked}");
    stage.until_subscribed(&both, 3).await;
    stage.book_and_wait(CALENDLY, "anna", &["A"]).await;
    stage.book_and_wait(CALENDLY, "ben", &["B"]).await;
    stage.judge().await;
    until("the app has heard of it all", async || {
        let told = stage.told("A");
        let all = ["connected", "disconnected", "connected"];
        let mut connections = told
            .iter()
            .filter_map(|told| told.strip_prefix("connection."));
        let in_order = all
            .iter()
            .all(|event| connections.any(|told| told == *event));
        (in_order && told.iter().any(|told| told == "meetings.synced")).then_some(())
    })
    .await;

    kill_between_acknowledging_and_delivering(&stage, first, CALENDLY, "anna", "A").await;
    stage.book_and_wait(CALENDLY, "ben", &["B"]).await;
    stage.book_and_wait(CALENDLY, "anna", &["A"]).await;
    stage.judge().await;
}

async fn organization(on: On) {
    let stage = Stage::open(on, &["providers.calendly.webhook_scope=organization"]).await;
    let (first, second) = two(&stage).await;
    let both = [&first.sidecar, &second.sidecar];
    stage.connect(both[0], CALENDLY, "A", "anna").await;
    // Without a plan of their own: what comes can come by A's subscription only.
    let colleague = NewUser {
        colleague_of: Some("anna".to_owned()),
        free_plan: true,
        ..NewUser::named("ben")
    };
    let calendly = stage.world.sandbox.calendly();
    calendly.create_user(&colleague).unwrap();
    stage.connect(both[1], CALENDLY, "B", "ben").await;
    stage.until_subscribed(&both, 1).await;
    stage.book_and_wait(CALENDLY, "ben", &["B"]).await;
    stage.book_and_wait(CALENDLY, "anna", &["A"]).await;
    let together = BookingOrder {
        co_hosts: vec!["anna".to_owned()],
        ..BookingOrder::create("ben")
    };
    stage.happens(CALENDLY, &together, &["A", "B"]);
    stage.judge().await;
    kill_between_acknowledging_and_delivering(&stage, first, CALENDLY, "ben", "B").await;
    stage.judge().await;
}

/// What Cal.com has to be asked for.
const CALCOM_SCOPE: &str =
    "providers.calcom.scope=PROFILE_READ BOOKING_READ WEBHOOK_READ WEBHOOK_WRITE";

async fn calcom(on: On) {
    let stage = Stage::open(on, &[CALCOM_SCOPE]).await;
    let (first, second) = two(&stage).await;
    let both = [&first.sidecar, &second.sidecar];
    let asked = stage.connect(both[0], CALCOM, "O", "olga").await;
    let query = asked.query().unwrap();
    // The client has a secret: never both.
    assert!(!query.contains("code_challenge"), "{asked}");
    stage.create_managed(both[1], "M", "mona").await;
    let id = |connection: serde_json::Value| connection["external_id"].clone();
    let (olga, mona) = (
        id(both[1].connection("O", CALCOM).await.json()),
        both[1].connection("M", CALCOM).await.json(),
    );
    assert!(
        olga.is_string() && olga != id(mona.clone()),
        "{olga} {mona}"
    );
    stage.until_subscribed(&both, 2).await;
    for user in ["O", "M"] {
        both[1].get(user, "/calcom/v2/me").await.must_be(200);
    }

    let booked = stage.book_and_wait(CALCOM, "olga", &["O"]).await;
    stage.book_and_wait(CALCOM, "mona", &["M"]).await;
    // A flat one.
    let starts = BookingOrder::to(Action::Start, &booked.booking);
    stage.happens(CALCOM, &starts, &["O"]);
    stage.judge().await;
    are_signed_by_their_own_subscription(&stage, &second, &["O", "M"]).await;

    // All of mona's tokens die; hers are had by force, and her webhooks go on.
    let killed = Revoke {
        user: "mona".to_owned(),
        what: Killed::Grant,
    };
    stage.world.sandbox.calcom().revoke(&killed).unwrap();
    both[0].get("M", "/calcom/v2/me").await.must_be(200);
    let calls = stage.world.calcom_calls();
    assert_eq!(calls.last().unwrap().call, Call::ForceRefresh, "{calls:?}");
    stage.book_and_wait(CALCOM, "mona", &["M"]).await;
    stage.judge().await;

    stage
        .world
        .done(&["connections", "revoke", CALCOM, "O"], "")
        .await;
    stage.connect(both[1], CALCOM, "O", "olga").await;
    stage.until_subscribed(&both, 3).await;
    stage.book_and_wait(CALCOM, "olga", &["O"]).await;
    stage.judge().await;

    kill_between_acknowledging_and_delivering(&stage, first, CALCOM, "mona", "M").await;
    stage.book_and_wait(CALCOM, "olga", &["O"]).await;
    stage.book_and_wait(CALCOM, "mona", &["M"]).await;
    stage.judge().await;
    stage.world.assert_no_double_redemption();
}

/// What each user got has the signature of that user's subscription, over the very bytes that came.
async fn are_signed_by_their_own_subscription(stage: &Stage, sidecar: &Holdable, users: &[&str]) {
    for user in users {
        let hooks = sidecar.sidecar.get(user, "/calcom/v2/webhooks").await;
        let hooks = hooks.must_be(200).json();
        let secret = hooks["data"][0]["secret"].as_str().unwrap().to_owned();
        let taken = stage.app.taken();
        let theirs = taken.iter().filter(|taken| {
            taken.header("x-user-id") == *user && !taken.header("x-cal-signature-256").is_empty()
        });
        let mut count = 0;
        for one in theirs {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(&one.body);
            let digest = hex::encode(mac.finalize().into_bytes());
            assert_eq!(one.header("x-cal-signature-256"), digest);
            count += 1;
        }
        assert!(count > 0, "nothing came to {user}");
    }
}

/// The same story once for each store.
macro_rules! on_every_store {
    ($($story:ident as $name:ident,)+) => { $(
        mod $story {
            use crate::stores::On;

            mod $name {
                use super::On;

                #[tokio::test(flavor = "multi_thread")]
                async fn on_sqlite() {
                    Box::pin(super::super::$story(On::Sqlite)).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn on_postgres() {
                    Box::pin(super::super::$story(On::Postgres)).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn on_redis() {
                    Box::pin(super::super::$story(On::Redis)).await;
                }
            }
        }
    )+ };
}

on_every_store! {
    calendly as each_booking_arrives_at_its_own_user_through_disconnect_reconnect_and_kill,
    organization as an_organizations_subscription_brings_each_host_their_own,
    calcom as managed_and_oauth_users_get_their_own_through_disconnect_force_and_kill,
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_path_of_the_public_address_users_connect_and_webhooks_arrive() {
    let stage = Stage::open_below("/daypass", On::Sqlite, &[]).await;
    let first = stage.holdable("first").await;
    stage.front.lead_to(&[&first.sidecar.ingress]);
    stage.connect(&first.sidecar, CALENDLY, "A", "anna").await;
    stage.until_subscribed(&[&first.sidecar], 1).await;
    stage.book_and_wait(CALENDLY, "anna", &["A"]).await;
    stage.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_webhooks_in_the_plan_a_user_connects_all_the_same_and_the_connection_says_so() {
    let stage = Stage::open(On::Sqlite, &[]).await;
    let calendly = stage.world.sandbox.calendly();
    calendly.set(|switches| switches.calendly.free_plan = true);
    let first = stage.holdable("first").await;
    let sidecar = &first.sidecar;
    stage.front.lead_to(&[&sidecar.ingress]);
    stage.connect(sidecar, CALENDLY, "A", "anna").await;
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
