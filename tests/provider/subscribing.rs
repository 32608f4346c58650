//! Subscriptions: made, adopted, mended, refused, and never twice.

use daypass::{
    base::secret::Secret,
    provider::{
        ApiError, Coverage, Denial, Health, Subscribed, Subscription, Wanted, Webhooks,
        calendly::WebhookScope,
    },
    sandbox::{ApiFault, ApiMischief, BookingOrder, Canned, Disable, NewUser, SameWebhook},
};
use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::world::{Either, HOOK, User, World, hook, outcome, secret};

const KEY: &str = "a-key-of-this-route-alone";

async fn subscribe(
    webhooks: &dyn Webhooks,
    user: &User,
    url: &Url,
) -> Result<Subscribed, ApiError> {
    let key = secret(KEY);
    let wanted = wanted(user, url, &key);
    webhooks.subscribe(&user.token, &wanted).await
}

fn wanted<'a>(user: &'a User, url: &'a Url, key: &'a Secret<String>) -> Wanted<'a> {
    Wanted {
        account: &user.account,
        granted: user.scope.as_deref(),
        url,
        secret: key,
    }
}

async fn health(webhooks: &dyn Webhooks, user: &User, id: &str) -> Health {
    let (url, key) = (hook(), secret(KEY));
    let wanted = wanted(user, &url, &key);
    webhooks.inspect(&user.token, id, &wanted).await.unwrap()
}

fn made(subscribed: Result<Subscribed, ApiError>) -> Subscription {
    match subscribed {
        Ok(Subscribed::Made(subscription)) => subscription,
        other => panic!("{other:?}"),
    }
}

fn adopted(subscribed: Result<Subscribed, ApiError>) -> Subscription {
    match subscribed {
        Ok(Subscribed::Adopted(subscription)) => subscription,
        other => panic!("{other:?}"),
    }
}

fn unavailable(subscribed: Result<Subscribed, ApiError>) -> Denial {
    match subscribed {
        Ok(Subscribed::Unavailable(denial)) => denial,
        other => panic!("{other:?}"),
    }
}

/// How many subscriptions hear of a booking of `name`.
fn hearing(provider: &Either, world: &World, name: &str) -> usize {
    let order = BookingOrder::create(name);
    match provider {
        Either::Calendly(_) => world.sandbox.calendly().book(&order),
        Either::Calcom(_) => world.sandbox.calcom().book(&order),
    }
    .unwrap()
    .deliveries
}

fn disable(provider: &Either, world: &World) {
    let off = Disable {
        url: HOOK.to_owned(),
    };
    match provider {
        Either::Calendly(_) => world.sandbox.calendly().disable(&off),
        Either::Calcom(_) => world.sandbox.calcom().disable(&off),
    }
    .unwrap();
}

#[tokio::test]
async fn there_is_one_subscription_however_often_it_is_asked_for() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let webhooks = provider.webhooks();
        let first = made(subscribe(webhooks, &user, &hook()).await);
        assert_eq!(first.coverage, Coverage::User);
        let again = adopted(subscribe(webhooks, &user, &hook()).await);
        assert_eq!(again, first);
        assert_eq!(hearing(&provider, &world, "alice"), 1);
        assert_eq!(health(webhooks, &user, &first.id).await, Health::Active);
    }
}

#[tokio::test]
async fn there_is_one_even_where_the_service_would_take_any_number() {
    let world = World::open().await;
    let sandbox = world.sandbox.calendly();
    sandbox.set(|switches| switches.calendly.same_webhook = SameWebhook::Never);
    let alice = world.calendly_user(&NewUser::named("alice"));
    let provider = Either::Calendly(world.calendly());
    let first = made(subscribe(provider.webhooks(), &alice, &hook()).await);
    let again = adopted(subscribe(provider.webhooks(), &alice, &hook()).await);
    assert_eq!(again.id, first.id);
    // Two processes that were equally fast leave two; the next one who looks leaves one.
    other(&provider, &world, &alice, HOOK).await;
    assert_eq!(hearing(&provider, &world, "alice"), 2);
    adopted(subscribe(provider.webhooks(), &alice, &hook()).await);
    assert_eq!(hearing(&provider, &world, "alice"), 1);
}

#[tokio::test]
async fn of_two_who_subscribe_at_once_one_adopts_what_the_other_made() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let webhooks = provider.webhooks();
        let url = hook();
        let (one, two) = tokio::join!(
            subscribe(webhooks, &user, &url),
            subscribe(webhooks, &user, &url)
        );
        let id = |subscribed: Result<Subscribed, ApiError>| match subscribed {
            Ok(Subscribed::Made(it) | Subscribed::Adopted(it)) => it.id,
            other => panic!("{other:?}"),
        };
        assert_eq!(id(one), id(two));
        assert_eq!(hearing(&provider, &world, "alice"), 1);
    }
}

#[tokio::test]
async fn what_was_switched_off_is_noticed_and_mended() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let webhooks = provider.webhooks();
        let first = made(subscribe(webhooks, &user, &hook()).await);
        disable(&provider, &world);
        assert_eq!(hearing(&provider, &world, "alice"), 0);
        let found = health(webhooks, &user, &first.id).await;
        assert_eq!(found, Health::Disabled);
        assert!(found.needs_mending());
        let mended = match subscribe(webhooks, &user, &hook()).await {
            Ok(Subscribed::Made(it) | Subscribed::Adopted(it)) => it,
            other => panic!("{other:?}"),
        };
        assert_eq!(health(webhooks, &user, &mended.id).await, Health::Active);
        assert_eq!(hearing(&provider, &world, "alice"), 1);
    }
}

#[tokio::test]
async fn what_was_deleted_is_noticed_and_deleting_twice_is_fine() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let webhooks = provider.webhooks();
        let first = made(subscribe(webhooks, &user, &hook()).await);
        for _ in 0..2 {
            webhooks.unsubscribe(&user.token, &first.id).await.unwrap();
        }
        assert_eq!(health(webhooks, &user, &first.id).await, Health::Gone);
        assert_eq!(hearing(&provider, &world, "alice"), 0);
        made(subscribe(webhooks, &user, &hook()).await);
    }
}

#[tokio::test]
async fn an_id_that_is_none_is_not_found_and_asks_nobody() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let before = provider.api_calls(&world);
        for id in ["", "..", "a/../../users/me?x"] {
            let result = provider.webhooks().unsubscribe(&user.token, id).await;
            assert_eq!(outcome(&result), "not found", "{id}");
        }
        assert_eq!(provider.api_calls(&world), before);
    }
}

#[tokio::test]
async fn a_plan_without_webhooks_is_an_answer() {
    let world = World::open().await;
    let free = NewUser {
        free_plan: true,
        ..NewUser::named("free")
    };
    let free = world.calendly_user(&free);
    let calendly = world.calendly();
    let denial = unavailable(subscribe(&calendly, &free, &hook()).await);
    assert_eq!(denial, Denial::Plan);
    world
        .sandbox
        .calcom()
        .set(|switches| switches.calcom.no_webhooks = true);
    let al = world.calcom_user(&NewUser::named("al"));
    let denial = unavailable(subscribe(&world.calcom(), &al, &hook()).await);
    assert_eq!(denial, Denial::Permission);
}

#[tokio::test]
async fn a_grant_without_webhooks_is_an_answer_and_asks_nobody() {
    let world = World::open().await;
    let with = |scope: &str| NewUser {
        scope: Some(scope.to_owned()),
        ..NewUser::named("alice")
    };
    let missing = |scope: &str| Denial::Scope {
        missing: vec![scope.to_owned()],
    };
    for (scope, expected) in [
        ("users:read scheduled_events:read", "webhooks:write"),
        ("users:read webhooks:write", "scheduled_events:read"),
    ] {
        let user = world.calendly_user(&with(scope));
        let denial = unavailable(subscribe(&world.calendly(), &user, &hook()).await);
        assert_eq!(denial, missing(expected));
        // If the grant is not known, the service tells.
        let unknown = User {
            scope: None,
            ..user
        };
        let denial = unavailable(subscribe(&world.calendly(), &unknown, &hook()).await);
        assert!(matches!(denial, Denial::Scope { .. }), "{denial:?}");
    }
    let user = world.calcom_user(&with("PROFILE_READ WEBHOOK_READ"));
    let denial = unavailable(subscribe(&world.calcom(), &user, &hook()).await);
    assert_eq!(denial, missing("WEBHOOK_WRITE"));
    let unknown = User {
        scope: None,
        ..user
    };
    let denial = unavailable(subscribe(&world.calcom(), &unknown, &hook()).await);
    assert_eq!(denial, missing("WEBHOOK_WRITE"));
}

#[tokio::test]
async fn events_are_asked_for_as_far_as_the_grant_goes() {
    let world = World::open().await;
    let with = |scope: &str, name: &str| NewUser {
        scope: Some(scope.to_owned()),
        ..NewUser::named(name)
    };
    let narrow = "users:read scheduled_events:read webhooks:write";
    let narrow = world.calendly_user(&with(narrow, "narrow"));
    let core = made(subscribe(&world.calendly(), &narrow, &hook()).await);
    assert_eq!(core.events.len(), 4);
    let wide = world.calendly_user(&with("default", "wide"));
    let all = made(subscribe(&world.calendly(), &wide, &hook()).await);
    assert!(
        all.events
            .iter()
            .any(|event| event == "meeting_recap.created")
    );
    assert!(
        all.events
            .iter()
            .all(|event| !event.starts_with("routing_form"))
    );
    let organization =
        world.calendly_with(|config| config.webhook_scope = WebhookScope::Organization);
    let owner = world.calendly_user(&with("default", "owner"));
    let all = made(subscribe(&organization, &owner, &hook()).await);
    assert_eq!(all.coverage, Coverage::Organization);
    assert!(
        all.events
            .iter()
            .any(|event| event.starts_with("routing_form"))
    );
    assert!(
        all.events
            .iter()
            .all(|event| !event.starts_with("meeting_recap"))
    );
}

#[tokio::test]
async fn a_service_that_knows_fewer_events_is_asked_for_fewer() {
    let world = World::open().await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.calendly.no_event_types = true);
    world
        .sandbox
        .calcom()
        .set(|switches| switches.calcom.old_server = true);
    for (provider, user) in Either::both(&world) {
        let first = made(subscribe(provider.webhooks(), &user, &hook()).await);
        assert!(first.events.len() <= 5, "{:?}", first.events);
        let again = adopted(subscribe(provider.webhooks(), &user, &hook()).await);
        assert_eq!(again, first);
    }
}

#[tokio::test]
async fn only_an_admin_subscribes_for_an_organization() {
    let world = World::open().await;
    let calendly = world.calendly_with(|config| config.webhook_scope = WebhookScope::Organization);
    let owner = world.calendly_user(&NewUser::named("owner"));
    let member = NewUser {
        colleague_of: Some("owner".to_owned()),
        ..NewUser::named("member")
    };
    let member = world.calendly_user(&member);
    let denial = unavailable(subscribe(&calendly, &member, &hook()).await);
    assert_eq!(denial, Denial::Permission);
    made(subscribe(&calendly, &owner, &hook()).await);
    let provider = Either::Calendly(calendly);
    assert_eq!(hearing(&provider, &world, "member"), 1);
}

#[tokio::test]
async fn who_moved_to_another_organization_or_is_not_known_is_asked_for_first() {
    let world = World::open().await;
    let mut alice = world.calendly_user(&NewUser::named("alice"));
    let url = world.sandbox.calendly_url();
    alice.account.organization = Some(format!("{url}/organizations/former"));
    made(subscribe(&world.calendly(), &alice, &hook()).await);
    alice.account = daypass::provider::Account::default();
    adopted(subscribe(&world.calendly(), &alice, &hook()).await);
}

#[tokio::test]
async fn what_another_scope_left_behind_makes_room() {
    let world = World::open().await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.calendly.same_webhook = SameWebhook::Url);
    let alice = world.calendly_user(&NewUser::named("alice"));
    made(subscribe(&world.calendly(), &alice, &hook()).await);
    let organization =
        world.calendly_with(|config| config.webhook_scope = WebhookScope::Organization);
    let subscription = made(subscribe(&organization, &alice, &hook()).await);
    assert_eq!(subscription.coverage, Coverage::Organization);
    assert_eq!(hearing(&Either::Calendly(organization), &world, "alice"), 1);
}

#[tokio::test]
async fn our_subscription_is_found_behind_many_others() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let webhooks = provider.webhooks();
        let first = made(subscribe(webhooks, &user, &hook()).await);
        webhooks.unsubscribe(&user.token, &first.id).await.unwrap();
        for number in 0..130 {
            // Not through `subscribe`, which lists them all each time.
            let url = format!("http://127.0.0.1:9/other/{number}");
            other(&provider, &world, &user, &url).await;
        }
        let ours = made(subscribe(webhooks, &user, &hook()).await);
        let again = adopted(subscribe(webhooks, &user, &hook()).await);
        assert_eq!(again.id, ours.id);
    }
}

/// Subscribes as somebody else would.
async fn other(provider: &Either, world: &World, user: &User, url: &str) {
    let (target, body) = match provider {
        Either::Calendly(_) => (
            format!("{}/webhook_subscriptions", world.sandbox.calendly_url()),
            json!({"url": url, "events": ["invitee.created"], "scope": "user",
                "user": user.account.external_id, "organization": user.account.organization}),
        ),
        Either::Calcom(_) => (
            format!("{}/v2/webhooks", world.sandbox.calcom_url()),
            json!({"subscriberUrl": url, "active": true, "triggers": ["BOOKING_CREATED"]}),
        ),
    };
    assert_eq!(
        sent(user, reqwest::Method::POST, &target, body).await,
        StatusCode::CREATED
    );
}

async fn sent(user: &User, method: reqwest::Method, url: &str, body: Value) -> StatusCode {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = client
        .request(method, url)
        .bearer_auth(user.token.danger_expose());
    call.json(&body).send().await.unwrap().status()
}

#[tokio::test]
async fn what_somebody_changed_at_cal_com_is_noticed_and_put_right() {
    let world = World::open().await;
    let calcom = world.calcom();
    let al = world.calcom_user(&NewUser::named("al"));
    let first = made(subscribe(&calcom, &al, &hook()).await);
    let target = format!("{}/v2/webhooks/{}", world.sandbox.calcom_url(), first.id);
    for change in [
        json!({"secret": "another"}),
        json!({"triggers": ["BOOKING_CREATED"]}),
    ] {
        let patched = sent(&al, reqwest::Method::PATCH, &target, change.clone()).await;
        assert_eq!(patched, StatusCode::OK);
        let found = health(&calcom, &al, &first.id).await;
        assert_eq!(found, Health::Altered, "{change}");
        let mended = adopted(subscribe(&calcom, &al, &hook()).await);
        assert_eq!(mended.id, first.id);
        assert_eq!(health(&calcom, &al, &first.id).await, Health::Active);
    }
}

#[tokio::test]
async fn retries_of_the_service_show() {
    let world = World::open().await;
    let inbox = world.inbox(StatusCode::INTERNAL_SERVER_ERROR).await;
    let alice = world.calendly_user(&NewUser::named("alice"));
    let calendly = world.calendly();
    let subscription = made(subscribe(&calendly, &alice, &inbox.url).await);
    world
        .sandbox
        .calendly()
        .book(&BookingOrder::create("alice"))
        .unwrap();
    let key = secret(KEY);
    for _ in 0..500 {
        let wanted = wanted(&alice, &inbox.url, &key);
        let found = calendly.inspect(&alice.token, &subscription.id, &wanted);
        if let Health::Retrying { since } = found.await.unwrap() {
            assert_eq!(since, crate::world::NOW);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no retry was begun");
}

#[tokio::test]
async fn trouble_is_no_answer() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        for (what, expected) in [
            (ApiMischief::ServerError, "transient"),
            (ApiMischief::Unauthorized, "token refused"),
            (ApiMischief::HtmlForbidden, "transient"),
            (ApiMischief::RateLimited { retry_after: None }, "limited"),
            (
                ApiMischief::Answer(Canned {
                    status: 200,
                    body: "<html>".to_owned(),
                    ..Canned::default()
                }),
                "transient",
            ),
        ] {
            provider.fault(&world, ApiFault::next(1, what.clone()));
            let result = subscribe(provider.webhooks(), &user, &hook()).await;
            assert_eq!(outcome(&result), expected, "{what:?}");
        }
        // Nothing was made by halves.
        made(subscribe(provider.webhooks(), &user, &hook()).await);
        assert_eq!(hearing(&provider, &world, "alice"), 1);
    }
}
