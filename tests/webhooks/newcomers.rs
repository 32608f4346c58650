//! Connections that nobody told of: imported, or saved by an older version beside this one.

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{clock::Clock as _, ids::ConnectionKey, random::OsRandom},
    provider::Account,
    sandbox::{BookingOrder, Created, NewUser},
    store::{JobKind, Jobs, Store},
    webhook::{Newcomers, newcomers::Parts, subscription::ViewStatus},
};
use serde_json::json;

use crate::{
    ingress::{CALENDLY_KEY, calendly_signature, invitee},
    rooms::Rooms,
    stage::{BOTH, Stage, key, until},
    world::START,
};

fn newcomers(stage: &Stage, rooms: &Rooms) -> Newcomers {
    Newcomers::new(Parts {
        store: Arc::clone(&stage.store) as _,
        duties: Arc::clone(&stage.store) as _,
        providers: stage.providers.clone(),
        intake: rooms.intake.clone(),
        jobs: vec![JobKind::Subscription, JobKind::Sync],
        random: Arc::new(OsRandom),
        lifecycle: rooms.lifecycle.clone(),
    })
}

/// Makes a user at the provider whom nobody knows here.
fn stranger(stage: &Stage, provider: &str, name: &str) -> Created {
    let order = NewUser::named(name);
    match provider {
        "calcom" => stage.sandbox.calcom().create_user(&order),
        _ => stage.sandbox.calendly().create_user(&order),
    }
    .unwrap()
}

async fn account(stage: &Stage, key: &ConnectionKey) -> Option<String> {
    let connection = stage.store.load(key).await.unwrap().unwrap();
    connection.external_id
}

#[tokio::test]
async fn who_was_imported_gets_an_identity_webhooks_and_meetings_without_connecting_again() {
    for provider in BOTH {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        let created = stranger(&stage, provider, "anna");
        stage.save(&anna, Account::default(), &created).await;
        stage.fill(provider, "anna", 1);
        let mut newcomers = newcomers(&stage, &rooms);
        assert_eq!(newcomers.look().await.unwrap(), 2);
        assert_eq!(account(&stage, &anna).await, Some(created.external_id));
        stage.clock.advance(Duration::from_secs(2));
        rooms.ring().await;
        rooms.until_subscribed(&anna, ViewStatus::Active).await;
        rooms.until_synced(1).await;
        assert_eq!(rooms.meetings("anna").await.len(), 1);
        stage.book(provider, &BookingOrder::create("anna"));
        assert_eq!(stage.until_delivered(1).await, ["anna"]);
        // What is in place is left alone.
        let job = stage.store.job(JobKind::Subscription, &anna).await.unwrap();
        let calls = stage.requests(provider, "GET", "/").len();
        assert_eq!(newcomers.look().await.unwrap(), 0);
        let again = stage.store.job(JobKind::Subscription, &anna).await.unwrap();
        assert_eq!(again, job);
        let me = if provider == "calcom" {
            "/v2/me"
        } else {
            "/users/me"
        };
        assert_eq!(stage.requests(provider, "GET", me).len(), 1, "asked once");
        // A booking that was told may still be read.
        assert!(stage.requests(provider, "GET", "/").len() <= calls + 2);
    }
}

#[tokio::test]
async fn what_waited_for_an_account_is_given_to_whom_another_version_has_connected() {
    let stage = Stage::open().await;
    let rooms = stage.sidecar();
    let created = stranger(&stage, "calendly", "anna");
    let uri = created.external_id.as_str();
    // More than is given in one go, told before anybody was connected.
    for number in 0..250 {
        let mut event = invitee(number, uri, &[uri]);
        event["payload"]["name"] = json!(format!("Guest {number}"));
        let body = event.to_string();
        let signature = calendly_signature(CALENDLY_KEY, START, body.as_bytes());
        let request = stage
            .http
            .post(format!("{}/webhooks/calendly", stage.public));
        let request = request.header("calendly-webhook-signature", signature);
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 202);
    }
    let known = Account {
        external_id: Some(created.external_id.clone()),
        organization: created.organization.clone(),
        managed_user_id: None,
    };
    stage.save(&key("calendly", "anna"), known, &created).await;
    newcomers(&stage, &rooms).look().await.unwrap();
    let users = stage.until_delivered(250).await;
    assert!(users.iter().all(|user| user == "anna"), "{users:?}");
}

#[tokio::test]
async fn a_reconnect_that_an_older_version_has_saved_wakes_what_had_gone_to_rest() {
    let stage = Stage::open().await;
    let (rooms, anna) = (stage.sidecar(), key("calendly", "anna"));
    let created = stage.connect("calendly", "anna").await;
    rooms.subscribe(&anna).await;
    // The grant dies: nothing more is done until somebody connects.
    let connection = stage.store.load(&anna).await.unwrap().unwrap();
    let fence = daypass::store::Fence::of(&connection);
    let reason = daypass::store::ReauthReason::GrantRefused;
    let marked = stage.store.mark_needs_reauth(&fence, reason, START).await;
    marked.unwrap();
    rooms.subscriptions.ask_for(&anna).await.unwrap();
    until("it rests", async || {
        let job = stage.store.job(JobKind::Subscription, &anna).await;
        let job = job.unwrap().unwrap();
        (job.owner.is_none() && job.due_at.is_none()).then_some(())
    })
    .await;
    let mut newcomers = newcomers(&stage, &rooms);
    assert_eq!(newcomers.look().await.unwrap(), 0, "it needs its user");
    let known = Account {
        external_id: Some(created.external_id.clone()),
        organization: created.organization.clone(),
        managed_user_id: None,
    };
    stage.save(&anna, known, &created).await;
    assert_eq!(newcomers.look().await.unwrap(), 2);
}

#[tokio::test]
async fn an_import_of_hundreds_does_not_flood_the_provider_and_one_sidecar_looks_for_all() {
    let stage = Stage::open().await;
    let rooms = stage.sidecar();
    let created = stranger(&stage, "calendly", "anna");
    let known = Account {
        external_id: Some(created.external_id.clone()),
        organization: created.organization.clone(),
        managed_user_id: None,
    };
    let keys = (0..250).map(|number| key("calendly", &format!("u_{number:03}")));
    let keys: Vec<ConnectionKey> = keys.collect();
    for key in &keys {
        stage.save(key, known.clone(), &created).await;
    }
    let (mut first, mut second) = (newcomers(&stage, &rooms), newcomers(&stage, &rooms));
    assert_eq!(first.look().await.unwrap(), 500);
    assert_eq!(second.look().await.unwrap(), 0, "it is the other's duty");
    let now = stage.clock.now();
    let mut soon = 0;
    for key in &keys {
        for kind in [JobKind::Subscription, JobKind::Sync] {
            let job = stage.store.job(kind, key).await.unwrap().unwrap();
            let due = job.due_at.unwrap();
            if due.saturating_since(now) <= Duration::from_secs(30) {
                soon += 1;
            }
        }
    }
    assert!(soon <= 70, "{soon} of 500 in the first half minute");
    assert_eq!(first.look().await.unwrap(), 0);
}
