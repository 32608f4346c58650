//! Delivery to the app: at least once, in order, and nobody held up by anybody else.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use daypass::store::{Deliveries, DeliveryStatus};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::{
    app::{Answer, App, Taken},
    world::{SECRET, World},
};

const HOUR: Duration = Duration::from_hours(1);

fn number(taken: &Taken) -> u64 {
    let body: Value = serde_json::from_slice(&taken.body).unwrap();
    body["data"]["number"].as_u64().unwrap()
}

fn numbers(taken: &[Taken], user: &str) -> Vec<u64> {
    taken
        .iter()
        .filter(|taken| taken.header("x-user-id") == user)
        .map(number)
        .collect()
}

#[tokio::test]
async fn an_event_reaches_the_app_signed_and_with_its_user() {
    let app = App::start().await;
    let world = World::new(&format!("{}/hooks/{{provider}}", app.url));
    world.tell("u_1", 1).await;
    let worker = world.worker();
    let taken = app.wait_for(1).await.remove(0);
    assert_eq!(taken.path, "/hooks/calendly");
    assert_eq!(taken.header("x-user-id"), "u_1");
    assert_eq!(taken.header("daypass-provider"), "calendly");
    assert_eq!(taken.header("daypass-event"), "connection.connected");
    assert_eq!(taken.header("content-type"), "application/json");
    let encoded = SECRET.strip_prefix("whsec_").unwrap();
    let key = BASE64_STANDARD.decode(encoded).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let (id, at) = (
        taken.header("webhook-id"),
        taken.header("webhook-timestamp"),
    );
    mac.update(format!("{id}.{at}.{}", taken.text()).as_bytes());
    let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(taken.header("webhook-signature"), expected);
    world.until(1, DeliveryStatus::Delivered, &worker).await;
    assert_eq!(app.taken().len(), 1);
}

/// W3: Nango took every 4xx of the app for final.
#[tokio::test]
async fn what_the_app_refuses_is_tried_again_429_and_404_included() {
    let app = App::start().await;
    let world = World::new(&app.url);
    app.answers([429, 404, 500, 302].map(Answer::Status));
    world.tell("u_1", 1).await;
    let worker = world.worker();
    for attempts in 1..=4 {
        world.until_tried(attempts, &worker).await;
        world.clock.advance(HOUR);
    }
    world.until(1, DeliveryStatus::Delivered, &worker).await;
    let taken = app.taken();
    assert_eq!(taken.len(), 5);
    assert!(
        taken
            .iter()
            .all(|again| again.header("webhook-id") == taken[0].header("webhook-id")),
        "one id over all tries"
    );
}

#[tokio::test]
async fn the_apps_retry_after_is_waited_for() {
    let app = App::start().await;
    let world = World::new(&app.url);
    app.answers([Answer::Later(503, "900")]);
    world.tell("u_1", 1).await;
    let worker = world.worker();
    let waiting = world.until_tried(1, &worker).await;
    let wait = waiting.at.saturating_since(crate::world::START);
    assert!(wait >= Duration::from_mins(15), "{wait:?}");
    assert_eq!(
        waiting.last_error.as_deref(),
        Some("the app answered 503 Service Unavailable")
    );
}

/// W14: svix and others followed redirects into private networks.
#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let (app, elsewhere) = (App::start().await, App::start().await);
    let world = World::new(&app.url);
    app.answers([Answer::Redirect(elsewhere.url.clone())]);
    world.tell("u_1", 1).await;
    let worker = world.worker();
    world.until_tried(1, &worker).await;
    world.clock.advance(HOUR);
    world.until(1, DeliveryStatus::Delivered, &worker).await;
    assert_eq!((app.taken().len(), elsewhere.taken().len()), (2, 0));
}

#[tokio::test]
async fn the_events_of_a_user_come_in_order_whatever_fails() {
    let app = App::start().await;
    let world = World::new(&app.url);
    for number in 1..=5 {
        world.tell("u_1", number).await;
    }
    app.answers([503, 204, 500, 204].map(Answer::Status));
    let worker = world.worker();
    world.until_tried(1, &worker).await;
    assert_eq!(
        numbers(&app.taken(), "u_1"),
        [1],
        "the others wait for the first"
    );
    world.clock.advance(HOUR);
    world.until(1, DeliveryStatus::Delivered, &worker).await;
    world.until_nth_tried(1, 1, &worker).await;
    world.clock.advance(HOUR);
    world.until(5, DeliveryStatus::Delivered, &worker).await;
    assert_eq!(numbers(&app.taken(), "u_1"), [1, 1, 2, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_user_whose_app_is_slow_holds_up_nobody_else() {
    let app = App::start().await;
    let world = World::new(&app.url);
    app.answers([Answer::Held]);
    world.tell("slow", 1).await;
    let worker = world.worker();
    app.wait_for(1).await;
    for number in 1..=3 {
        world.tell("quick", number).await;
    }
    world.until(3, DeliveryStatus::Delivered, &worker).await;
    assert_eq!(numbers(&app.taken(), "quick"), [1, 2, 3]);
    app.let_go(1);
    world.until(4, DeliveryStatus::Delivered, &worker).await;
}

#[tokio::test]
async fn of_a_burst_that_is_more_than_the_app_gets_at_once_nothing_is_put_off() {
    let app = App::start().await;
    app.always(Answer::Held);
    let world = World::new(&app.url);
    for user in 0..150 {
        world.tell(&format!("u_{user}"), 1).await;
    }
    // Nobody rings, and the clock stands still: what is put off does not come again.
    let _worker = world.worker();
    app.wait_for(32).await;
    app.let_go(150);
    assert_eq!(app.wait_for(150).await.len(), 150);
}

#[tokio::test]
async fn one_dead_shard_holds_up_no_other() {
    let app = App::start().await;
    // Port 9 is refused at once; which user is on which shard is the template's affair.
    let port = app.url.rsplit(':').next().unwrap();
    let world = World::new(&format!("http://127.0.0.{{shard}}:{port}/"));
    for user in 0..40 {
        world.tell(&format!("u_{user}"), user).await;
    }
    let worker = world.worker();
    // Shard 1 is the app; 0, 2 and 3 are addresses where nobody listens.
    let alive = app.wait_for(5).await.len();
    assert!(alive >= 5, "{alive}");
    let served = world.deliveries().await;
    assert!(
        served
            .iter()
            .any(|found| found.status == DeliveryStatus::Pending)
    );
    drop(worker);
}

#[tokio::test]
async fn what_is_not_taken_for_72_hours_is_a_dead_letter_and_the_next_one_passes() {
    let app = App::start().await;
    let world = World::new(&app.url);
    app.always(Answer::Status(500));
    world.tell("u_1", 1).await;
    world.tell("u_1", 2).await;
    let worker = world.worker();
    world.until_tried(1, &worker).await;
    world.clock.advance(Duration::from_hours(71));
    world.until_tried(2, &worker).await;
    world.clock.advance(Duration::from_hours(2));
    world.until(1, DeliveryStatus::Dead, &worker).await;
    app.always(Answer::Status(200));
    world.clock.advance(HOUR);
    world.until(1, DeliveryStatus::Delivered, &worker).await;
    assert_eq!(app.taken().last().map(number), Some(2));
}

/// W7: hookdeck/outpost swallowed a manual replay as a duplicate.
#[tokio::test]
async fn a_replay_delivers_again_with_the_same_id() {
    let app = App::start().await;
    let world = World::new(&app.url);
    world.tell("u_1", 1).await;
    let worker = world.worker();
    world.until(1, DeliveryStatus::Delivered, &worker).await;
    let id = world.deliveries().await[0].id;
    assert!(world.store.replay(id).await.unwrap());
    worker.bell.notify_one();
    let taken = app.wait_for(2).await;
    assert_eq!(taken[0].header("webhook-id"), taken[1].header("webhook-id"));
    assert_eq!(taken[0].body, taken[1].body);
    world.until(1, DeliveryStatus::Delivered, &worker).await;
}

#[tokio::test]
async fn what_a_dead_worker_held_is_taken_over_within_fifteen_seconds() {
    let app = App::start().await;
    let world = World::new(&app.url);
    app.answers([Answer::Held]);
    world.tell("u_1", 1).await;
    let first = world.worker();
    app.wait_for(1).await;
    first.kill();
    let second = world.worker();
    world.clock.advance(Duration::from_secs(9));
    world.until(1, DeliveryStatus::Delivered, &second).await;
    let taken = app.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].header("webhook-id"), taken[1].header("webhook-id"));
}

#[tokio::test]
async fn two_workers_share_the_lines_and_deliver_each_event_once() {
    let app = App::start().await;
    let world = World::new(&app.url);
    for number in 1..=10 {
        for user in ["a", "b", "c", "d", "e"] {
            world.tell(user, number).await;
        }
    }
    let workers = [world.worker(), world.worker()];
    world
        .until(25, DeliveryStatus::Delivered, &workers[0])
        .await;
    world
        .until(50, DeliveryStatus::Delivered, &workers[1])
        .await;
    let taken = app.taken();
    assert_eq!(taken.len(), 50, "none came twice");
    for user in ["a", "b", "c", "d", "e"] {
        assert_eq!(numbers(&taken, user), (1..=10).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_app_that_is_down_is_left_alone_and_gets_everything_in_order_when_it_is_back() {
    let app = App::start().await;
    let world = World::new(&app.url);
    app.always(Answer::Status(503));
    for number in 1..=3 {
        for user in 0..20 {
            world.tell(&format!("u_{user}"), number).await;
        }
    }
    let worker = world.worker();
    app.wait_for(5).await;
    // Five failures in a row open the breaker: of the twenty lines most were not even tried.
    app.always(Answer::Status(200));
    let looking = async {
        loop {
            world.clock.advance(Duration::from_mins(1));
            let found = world.deliveries().await;
            if found
                .iter()
                .all(|found| found.status == DeliveryStatus::Delivered)
            {
                return;
            }
            worker.bell.notify_one();
            app.wait_for(1).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), looking)
        .await
        .unwrap();
    for user in 0..20 {
        let mut came = numbers(&app.taken(), &format!("u_{user}"));
        came.dedup();
        assert_eq!(came, [1, 2, 3], "u_{user}");
    }
}
