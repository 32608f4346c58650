//! Subscriptions: made at connect with a route and a secret of their own, adopted, watched, mended,
//! taken back.

use std::{collections::BTreeSet, time::Duration};

use daypass::{
    provider::Account,
    sandbox::{ApiFault, ApiMischief, BookingOrder, Disable, NewUser},
    store::{Accounts, Existing, JobKind, Jobs, Status, Store},
    webhook::subscription::ViewStatus,
};

use crate::stage::{BOTH, Stage, key, until};

const PATHS: [(&str, &str); 2] = [
    ("calendly", "/webhook_subscriptions"),
    ("calcom", "/v2/webhooks"),
];

#[tokio::test]
async fn each_connection_has_a_route_and_a_secret_of_its_own() {
    let stage = Stage::open().await;
    let rooms = stage.sidecar();
    for (provider, user) in [
        ("calendly", "anna"),
        ("calendly", "ben"),
        ("calcom", "cara"),
    ] {
        stage.connect(provider, user).await;
        rooms.subscribe(&key(provider, user)).await;
        stage.book(provider, &BookingOrder::create(user));
    }
    let mut users = stage.until_delivered(3).await;
    users.sort();
    assert_eq!(users, ["anna", "ben", "cara"]);
    let came = stage.came.lock().clone();
    let paths: BTreeSet<&str> = came.iter().map(|came| came.path.as_str()).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    // What one of them has signed is of no use at another's route, nor at the shared one.
    let calendly: Vec<_> = came
        .iter()
        .filter(|came| came.path.starts_with("/webhooks/calendly/"))
        .collect();
    assert_eq!(stage.send_again(calendly[0], &calendly[1].path).await, 401);
    assert_eq!(
        stage.send_again(calendly[0], "/webhooks/calendly").await,
        401
    );
    assert_eq!(stage.send_again(calendly[0], &calendly[0].path).await, 200);
    assert_eq!(stage.deliveries().await.len(), 3);
}

#[tokio::test]
async fn one_that_was_made_before_a_crash_is_adopted_and_not_made_twice() {
    for provider in BOTH {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        stage.set(provider, |switches| switches.api_latency_ms = 200);
        rooms.subscriptions.ask_for(&anna).await.unwrap();
        let subscription = JobKind::Subscription;
        // What was written down before the provider was asked is all that a crash leaves.
        let before = until("the route is written down", async || {
            let job = stage.store.job(subscription, &anna).await.unwrap();
            job.and_then(|job| job.state)
        })
        .await;
        rooms.until_subscribed(&anna, ViewStatus::Active).await;
        drop(rooms);
        let rooms = stage.sidecar();
        let replaced = stage.store.schedule(
            subscription,
            &anna,
            Some(before),
            Duration::ZERO,
            Existing::Replace,
        );
        replaced.await.unwrap();
        rooms.ring().await;
        rooms.until_subscribed(&anna, ViewStatus::Active).await;
        assert_eq!(stage.subscribed(provider), 1, "{provider}");
        stage.set(provider, |switches| switches.api_latency_ms = 0);
        stage.book(provider, &BookingOrder::create("anna"));
        assert_eq!(stage.until_delivered(1).await, ["anna"]);
    }
}

#[tokio::test]
async fn one_that_the_provider_has_switched_off_is_mended_at_the_next_look() {
    for provider in BOTH {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        rooms.subscribe(&anna).await;
        stage.book(provider, &BookingOrder::create("anna"));
        assert_eq!(stage.until_delivered(1).await, ["anna"]);
        let route = stage.came.lock()[0].path.clone();
        let url = format!("{}{route}", stage.public);
        match provider {
            "calcom" => stage.sandbox.calcom().disable(&Disable { url }),
            _ => stage.sandbox.calendly().disable(&Disable { url }),
        }
        .unwrap();
        let lost = stage.book(provider, &BookingOrder::create("anna"));
        assert_eq!(lost.deliveries, 0, "nobody is told of this one");
        // It is looked at every six hours, more or less, and nobody asks for it.
        stage.clock.advance(Duration::from_hours(10));
        rooms.ring().await;
        let heard = until("the next booking is told again", async || {
            let booked = stage.book(provider, &BookingOrder::create("anna"));
            (booked.deliveries > 0).then_some(())
        });
        heard.await;
        stage.until_delivered(2).await;
        let came = stage.came.lock().clone();
        assert_eq!(came.last().unwrap().path, route, "on the same route");
    }
}

#[tokio::test]
async fn one_that_is_sound_is_looked_at_and_left_alone() {
    for (provider, path) in PATHS {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        rooms.subscribe(&anna).await;
        let looks = stage.requests(provider, "GET", path).len();
        stage.clock.advance(Duration::from_hours(10));
        rooms.ring().await;
        until("it is looked at", async || {
            let now = stage.requests(provider, "GET", path).len();
            (now > looks).then_some(())
        })
        .await;
        rooms.until_subscribed(&anna, ViewStatus::Active).await;
        assert_eq!(stage.subscribed(provider), 1, "{provider}");
    }
}

#[tokio::test]
async fn without_webhooks_in_the_plan_the_connection_stands_and_says_so() {
    for provider in BOTH {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        let has_none = |none: bool| {
            stage.set(provider, |switches| {
                switches.calendly.free_plan = none;
                switches.calcom.no_webhooks = none;
            });
        };
        has_none(true);
        stage.connect(provider, "anna").await;
        rooms.subscriptions.ask_for(&anna).await.unwrap();
        let reason = rooms.until_subscribed(&anna, ViewStatus::Unavailable).await;
        assert!(reason.unwrap().len() > 20, "it says why");
        let connection = stage.store.load(&anna).await.unwrap().unwrap();
        assert_eq!(connection.status, Status::Active);
        // What webhooks do not tell is read from time to time.
        stage.fill(provider, "anna", 1);
        rooms.read_all(&anna).await;
        assert_eq!(rooms.meetings("anna").await.len(), 1);
        // Somebody pays: nobody has to connect again.
        has_none(false);
        stage.clock.advance(Duration::from_hours(40));
        rooms.ring().await;
        let reason = rooms.until_subscribed(&anna, ViewStatus::Active).await;
        assert_eq!(reason, None);
    }
}

#[tokio::test]
async fn a_provider_in_trouble_is_asked_again_and_less_and_less_often() {
    for (provider, path) in PATHS {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        stage.fault(
            provider,
            ApiFault {
                times: None,
                user: None,
                path: Some(path.to_owned()),
                what: ApiMischief::ServerError,
            },
        );
        rooms.subscriptions.ask_for(&anna).await.unwrap();
        rooms.until_subscribed(&anna, ViewStatus::Failed).await;
        let asked = || {
            let methods = ["GET", "POST"].iter();
            methods
                .map(|method| stage.requests(provider, method, path).len())
                .sum::<usize>()
        };
        let mut waits = Vec::new();
        for _ in 0..5 {
            let job = stage.store.job(JobKind::Subscription, &anna).await;
            let due = job.unwrap().unwrap().due_at.unwrap();
            waits.push(due.saturating_since(daypass::base::clock::Clock::now(&stage.clock)));
            let before = asked();
            stage.clock.advance(*waits.last().unwrap());
            rooms.ring().await;
            until("it is asked again", async || {
                let job = stage.store.job(JobKind::Subscription, &anna).await;
                let is_done = job.unwrap().unwrap().owner.is_none();
                (is_done && asked() > before).then_some(())
            })
            .await;
        }
        assert!(
            waits.windows(2).skip(1).all(|pair| pair[0] < pair[1]),
            "{waits:?}"
        );
        stage.set(provider, |switches| switches.api_faults.clear());
        stage.clock.advance(Duration::from_hours(6));
        rooms.ring().await;
        rooms.until_subscribed(&anna, ViewStatus::Active).await;
    }
}

#[tokio::test]
async fn what_comes_to_the_route_of_a_removed_connection_is_kept_for_its_account_and_given_to_nobody_else()
 {
    for (provider, path) in PATHS {
        let stage = Stage::open().await;
        let (rooms, anna, ben) = (stage.sidecar(), key(provider, "anna"), key(provider, "ben"));
        let created = stage.connect(provider, "anna").await;
        stage.connect(provider, "ben").await;
        rooms.subscribe(&anna).await;
        rooms.subscribe(&ben).await;
        stage.book(provider, &BookingOrder::create("anna"));
        stage.until_delivered(1).await;
        let route = stage.came.lock()[0].path.clone();
        // The provider fails to delete the subscription, and goes on delivering.
        let fault = ApiFault {
            times: Some(1),
            user: None,
            path: Some(path.to_owned()),
            what: ApiMischief::ServerError,
        };
        stage.fault(provider, fault);
        rooms.subscriptions.take_back(&anna).await.unwrap();
        stage.store.remove(&anna).await.unwrap();
        stage.set(provider, |switches| switches.api_faults.clear());
        stage.book(provider, &BookingOrder::create("anna"));
        assert_eq!(stage.until_delivered(2).await, ["anna", "-"]);
        assert_eq!(stage.came.lock().last().unwrap().path, route);
        // Unsigned, it is refused there as anywhere.
        let unsigned = stage.http.post(format!("{}{route}", stage.public));
        let unsigned = unsigned.body("{}").send().await.unwrap();
        assert_eq!(unsigned.status().as_u16(), 401);
        // Whoever connects the account gets what has waited.
        let account = Account {
            external_id: Some(created.external_id.clone()),
            organization: created.organization.clone(),
            managed_user_id: None,
        };
        let again = key(provider, "anna-again");
        stage.save(&again, account, &created).await;
        let connection = stage.store.load(&again).await.unwrap().unwrap();
        rooms.intake.arrived(&connection).await.unwrap();
        assert_eq!(stage.until_delivered(2).await, ["anna", "anna-again"]);
    }
}

#[tokio::test]
async fn a_removed_connections_subscription_is_deleted_at_the_provider() {
    for (provider, path) in PATHS {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        rooms.subscribe(&anna).await;
        rooms.subscriptions.take_back(&anna).await.unwrap();
        assert_eq!(stage.requests(provider, "DELETE", path).len(), 1);
        assert_eq!(rooms.subscriptions.view(&anna).await.unwrap(), None);
        let booked = stage.book(provider, &BookingOrder::create("anna"));
        assert_eq!(booked.deliveries, 0);
    }
}

/// A second subscription would bring everything twice, and nobody would ever delete the first.
#[tokio::test]
async fn one_that_was_made_before_its_account_was_known_stays_when_it_is() {
    for provider in BOTH {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        let order = NewUser::named("anna");
        let created = match provider {
            "calcom" => stage.sandbox.calcom().create_user(&order),
            _ => stage.sandbox.calendly().create_user(&order),
        }
        .unwrap();
        stage.save(&anna, Account::default(), &created).await;
        rooms.subscribe(&anna).await;
        let connection = stage.store.load(&anna).await.unwrap().unwrap();
        let organization = created.organization.as_deref();
        let told = stage
            .store
            .identify(&anna, connection.id, &created.external_id, organization);
        told.await.unwrap();
        stage.clock.advance(Duration::from_hours(10));
        rooms.ring().await;
        until("it was looked at", async || {
            let job = stage.store.job(JobKind::Subscription, &anna).await;
            let job = job.unwrap().unwrap();
            let now = daypass::base::clock::Clock::now(&stage.clock);
            (job.owner.is_none() && job.due_at.is_some_and(|due| due > now)).then_some(())
        })
        .await;
        rooms.until_subscribed(&anna, ViewStatus::Active).await;
        assert_eq!(stage.subscribed(provider), 1, "{provider}");
        stage.book(provider, &BookingOrder::create("anna"));
        assert_eq!(stage.until_delivered(1).await, ["anna"]);
    }
}
