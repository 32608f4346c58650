//! An app that is down, slow or refuses, and what it gets all the same.

use std::time::Duration;

use daypass::{base::clock::Clock as _, store::DeliveryStatus};
use serde_json::Value;

use crate::{
    app::{Answer, App, Taken},
    ingress::{ALICE, CALCOM_KEY, CALENDLY_KEY, Ingress, calendly_signature, hmac, invitee},
    world::{START, World, config},
};

const MINUTE: Duration = Duration::from_mins(1);

fn number(taken: &Taken) -> u64 {
    let body: Value = serde_json::from_slice(&taken.body).unwrap();
    body["data"]["number"].as_u64().unwrap()
}

#[tokio::test]
async fn an_app_that_is_down_for_an_hour_is_asked_seldom_and_nothing_is_lost() {
    let app = App::start().await;
    let world = World::new(&app.url);
    app.always(Answer::Status(503));
    for event in 1..=3 {
        for user in 0..10 {
            world.tell(&format!("u_{user}"), event).await;
        }
    }
    let worker = world.worker();
    app.wait_for(5).await;
    for _ in 0..60 {
        world.clock.advance(MINUTE);
        worker.bell.notify_one();
        // Time for whatever would be sent, were the app not left alone.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let tries = app.taken().len();
    assert!(
        (5..=12).contains(&tries),
        "{tries} of the hundreds that ten users would have made"
    );
    let waiting = world.deliveries().await;
    assert_eq!(waiting.len(), 30);
    assert!(
        waiting
            .iter()
            .all(|found| found.status == DeliveryStatus::Pending),
        "none is given up"
    );
    app.always(Answer::Status(200));
    world.clock.advance(Duration::from_hours(1));
    let everything = async {
        loop {
            // Less than a claim lasts, over many rounds.
            world.clock.advance(Duration::from_millis(200));
            let found = world.deliveries().await;
            let is_done = |status| status == DeliveryStatus::Delivered;
            if found.iter().all(|found| is_done(found.status)) {
                return;
            }
            worker.bell.notify_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(MINUTE, everything).await.unwrap();
    let taken = app.taken().split_off(tries);
    for user in 0..10 {
        let user = format!("u_{user}");
        let of_user = taken
            .iter()
            .filter(|taken| taken.header("x-user-id") == user);
        let mut numbers: Vec<u64> = of_user.map(number).collect();
        numbers.dedup();
        assert_eq!(numbers, [1, 2, 3], "{user}");
    }
}

#[tokio::test]
async fn what_the_app_does_not_take_is_tried_less_and_less_often_and_not_by_all_at_once() {
    let app = App::start().await;
    let world = World::new(&app.url);
    // A refusal that does not speak against the app, so that each line is tried whenever it is due.
    app.always(Answer::Status(404));
    world.tell("u_1", 1).await;
    world.tell("u_2", 1).await;
    let worker = world.worker();
    let mut waits = [Vec::new(), Vec::new()];
    for attempt in 1..=10 {
        for (nth, waits) in waits.iter_mut().enumerate() {
            let found = world.until_nth_tried(nth, attempt, &worker).await;
            waits.push(found.at.saturating_since(world.clock.now()));
        }
        world.clock.advance(Duration::from_hours(1));
    }
    for waits in &waits {
        assert!(waits[0] <= Duration::from_secs(5), "{waits:?}");
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert!(waits[9] >= Duration::from_mins(20), "{waits:?}");
    }
    assert_ne!(waits[0], waits[1], "no two lines keep step");
}

#[tokio::test]
async fn an_app_that_answers_too_late_gets_the_event_again_under_the_same_id() {
    let app = App::start().await;
    let mut short = config(&app.url);
    short.app_timeout = Duration::from_millis(300);
    let world = World::with(short);
    app.answers([Answer::Held]);
    world.tell("u_1", 1).await;
    let worker = world.worker();
    let tried = world.until_tried(1, &worker).await;
    assert_eq!(tried.status, DeliveryStatus::Pending);
    assert_eq!(
        tried.last_error.as_deref(),
        Some("the app did not answer in time")
    );
    // The 200 that comes now is heard by nobody.
    app.let_go(1);
    world.clock.advance(Duration::from_hours(1));
    world.until(1, DeliveryStatus::Delivered, &worker).await;
    let taken = app.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].header("webhook-id"), taken[1].header("webhook-id"));
    assert_eq!(taken[0].body, taken[1].body);
}

/// W4: elsewhere bodies were parsed and written again, and no signature matched any more.
#[tokio::test]
async fn the_app_gets_the_providers_bytes_under_the_providers_own_signature() {
    let (app, ingress) = (App::start().await, Ingress::start().await);
    ingress.connect("calcom", "alice", Some("7")).await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let odd = b"{ \"triggerEvent\" :\"BOOKING_CREATED\",\n\t\"payload\":{\"organizer\": {\"id\":7.0e0, \"id\":7},\
        \"title\":\"caf\\u00e9 \xc3\xa9 1.10\", \"n\":1.10}  }\r\n";
    assert_eq!(ingress.calcom(odd).await, 200);
    let even = invitee(1, ALICE, &[ALICE]).to_string();
    assert_eq!(ingress.calendly_at(START, even.as_bytes()).await.0, 200);
    let _worker = ingress.worker(&app.url);
    let taken = app.wait_for(2).await;
    let from = |provider| {
        let mut taken = taken.iter();
        taken.find(|taken| taken.header("daypass-provider") == provider)
    };
    let calcom = from("calcom").unwrap();
    assert_eq!(calcom.body, odd.as_slice());
    let signature = hex::encode(hmac(CALCOM_KEY, &[&calcom.body]));
    assert_eq!(calcom.header("x-cal-signature-256"), signature);
    let calendly = from("calendly").unwrap();
    let signature = calendly_signature(CALENDLY_KEY, START, &calendly.body);
    assert_eq!(calendly.header("calendly-webhook-signature"), signature);
}

/// W13: elsewhere a provider waited for the app.
#[tokio::test]
async fn an_app_that_hangs_holds_up_no_provider() {
    let (app, ingress) = (App::start().await, Ingress::start().await);
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    app.always(Answer::Held);
    let _worker = ingress.worker(&app.url);
    for number in 1..=5 {
        let event = invitee(number, ALICE, &[ALICE]);
        let posting = ingress.calendly(&event);
        let answered = tokio::time::timeout(Duration::from_secs(5), posting).await;
        assert_eq!(answered.unwrap(), 200, "while the app holds the first");
    }
    assert_eq!(app.wait_for(1).await.len(), 1);
    assert_eq!(ingress.deliveries().await.len(), 5);
}
