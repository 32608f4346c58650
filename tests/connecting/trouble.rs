//! Everything that goes wrong between a link and a connection: a page that a person understands, a word
//! that the app can read, and nothing half done.

use std::time::Duration;

use daypass::{
    connect::Error,
    sandbox::{
        ApiFault, ApiMischief, Call, Canned, ClientStatus, Filter, Malformation, TokenFault,
        TokenMischief,
    },
    store::Purpose,
};
use tokio::time::sleep;
use url::Url;

use crate::{
    browser::Browser,
    world::{Wanted, World, until},
};

/// What an app reads of a failed consent.
fn failed(provider: &str, reason: &str) -> String {
    format!("tab=1&connection=failed&provider={provider}&reason={reason}")
}

fn code_fault(what: TokenMischief, times: Option<u32>) -> TokenFault {
    TokenFault {
        times,
        call: Some(Call::Code),
        what,
    }
}

/// How many codes Calendly was shown.
fn exchanges(world: &World) -> usize {
    let filter = Filter {
        path: Some("/oauth/token".to_owned()),
        ..Filter::default()
    };
    world.sandbox.calendly().entries(&filter).len()
}

/// A consent of `user` at Calendly up to the moment before the way back.
async fn consented(world: &World, browser: &Browser, user: &str) -> String {
    let page = browser
        .get(&world.link("calendly", user).await)
        .await
        .location(302);
    browser.decide(&page, "alice", "approve").await
}

fn with_query(url: &str, change: impl Fn(&str, &str) -> Option<String>) -> String {
    let mut changed = Url::parse(url).unwrap();
    let pairs: Vec<(String, String)> = changed
        .query_pairs()
        .filter_map(|(name, value)| Some((name.to_string(), change(&name, &value)?)))
        .collect();
    changed.query_pairs_mut().clear().extend_pairs(pairs);
    changed.into()
}

#[tokio::test]
async fn a_user_who_says_no_is_not_connected_and_the_app_knows_why() {
    let (world, browser) = (World::open().await, Browser::new());
    let page = browser
        .get(&world.link("calendly", "u_1").await)
        .await
        .location(302);
    let back = browser.decide(&page, "alice", "deny").await;
    let done = browser.get(&back).await;
    assert_eq!(
        done.result(),
        "tab=1&connection=denied&provider=calendly&reason=access-denied"
    );
    assert!(world.stored("calendly", "u_1").is_none());
    assert_eq!((exchanges(&world), world.heard().len()), (0, 0));
    // Without an address to return to.
    let link = world.link_to("calendly", "u_1", None).await;
    for (browser, as_page) in [(&browser, true), (&Browser::program(), false)] {
        let page = browser.get(&link).await.location(302);
        let back = browser.decide(&page, "alice", "deny").await;
        let done = browser.get(&back).await;
        if as_page {
            assert_eq!(done.page(403), "Calendly is not connected");
            let (_, again) = done.body.split_once("<a href=\"").unwrap();
            let again = again.split('"').next().unwrap();
            assert_eq!(
                browser.allow(again, "alice").await.page(200),
                "Calendly is connected"
            );
        } else {
            assert_eq!(done.problem(403), "connect-denied");
            assert_eq!(done.json()["reason"], "access-denied");
            assert_eq!(done.json()["connection"], "denied");
        }
    }
}

#[tokio::test]
async fn a_state_that_is_missing_doubled_or_made_up_leads_nowhere() {
    let (world, browser) = (World::open().await, Browser::new());
    let back = consented(&world, &browser, "u_1").await;
    let missing = with_query(&back, |name, value| {
        (name != "state").then(|| value.to_owned())
    });
    let doubled = format!("{back}&state=x");
    let void = with_query(&back, |name, value| {
        (name != "code").then(|| value.to_owned())
    });
    for url in [
        missing,
        doubled,
        void,
        back.split('?').next().unwrap().to_owned(),
    ] {
        assert_eq!(
            browser.get(&url).await.page(400),
            "There is nothing to see here",
            "{url}"
        );
        assert_eq!(
            Browser::program().get(&url).await.problem(400),
            "callback-invalid"
        );
    }
    let made_up = with_query(&back, |name, value| {
        Some(if name == "state" {
            "made-up".to_owned()
        } else {
            value.to_owned()
        })
    });
    let page = browser.get(&made_up).await;
    assert_eq!(page.page(400), "This was used already, or took too long");
    assert_eq!(
        Browser::program().get(&made_up).await.problem(400),
        "state-unknown"
    );
    // None of them has spoilt the real one.
    assert!(
        browser
            .get(&back)
            .await
            .result()
            .contains("connection=connected")
    );
}

#[tokio::test]
async fn another_browser_cannot_finish_what_this_one_began() {
    let (world, browser) = (World::open().await, Browser::new());
    // One that was here before, and one that was not.
    let stranger = Browser::new();
    stranger
        .get(&world.link("calendly", "u_9").await)
        .await
        .location(302);
    for other in [stranger, Browser::new()] {
        let back = consented(&world, &browser, "u_1").await;
        let page = other.get(&back).await;
        assert_eq!(page.page(400), "Please go on where you began");
        assert!(
            !page.body.contains("<a "),
            "a stranger gets no link: {page:?}"
        );
        // The state was shown, and is over for everybody.
        let late = browser.get(&back).await;
        assert_eq!(late.page(400), "This was used already, or took too long");
    }
    let back = consented(&world, &browser, "u_1").await;
    browser.forget_cookies();
    let program = Browser::program().get(&back).await;
    assert_eq!(program.problem(400), "other-browser");
    assert!(world.stored("calendly", "u_1").is_none());
    assert_eq!((exchanges(&world), world.heard().len()), (0, 0));
}

#[tokio::test]
async fn a_refusal_in_another_browser_is_not_believed_either() {
    let (world, browser) = (World::open().await, Browser::new());
    let page = browser
        .get(&world.link("calendly", "u_1").await)
        .await
        .location(302);
    let back = browser.decide(&page, "alice", "deny").await;
    assert_eq!(
        Browser::new().get(&back).await.page(400),
        "Please go on where you began"
    );
}

#[tokio::test]
async fn a_callback_that_comes_again_says_that_all_may_be_well() {
    let (world, browser) = (World::open().await, Browser::new());
    let back = consented(&world, &browser, "u_1").await;
    assert!(
        browser
            .get(&back)
            .await
            .result()
            .contains("connection=connected")
    );
    let again = browser.get(&back).await;
    assert_eq!(again.page(400), "This was used already, or took too long");
    assert!(again.body.contains("all is well"), "{again:?}");
    assert_eq!(world.stored("calendly", "u_1").unwrap().generation.get(), 1);
    assert_eq!(exchanges(&world), 1);
}

#[tokio::test]
async fn of_twenty_callbacks_at_once_one_redeems_the_code() {
    let (world, browser) = (World::open().await, std::sync::Arc::new(Browser::new()));
    let back = consented(&world, &browser, "u_1").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 50);
    let callbacks: Vec<_> = (0..20)
        .map(|_| {
            let (browser, back) = (std::sync::Arc::clone(&browser), back.clone());
            tokio::spawn(async move { browser.get(&back).await.status.as_u16() })
        })
        .collect();
    let mut answers = Vec::new();
    for callback in callbacks {
        answers.push(callback.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [[303].as_slice(), &[400; 19]].concat());
    assert_eq!(exchanges(&world), 1);
}

#[tokio::test]
async fn a_consent_that_took_too_long_is_over() {
    let (world, browser) = (World::open().await, Browser::new());
    let back = consented(&world, &browser, "u_1").await;
    world.clock.advance(Duration::from_mins(30));
    let late = browser.get(&back).await;
    assert_eq!(late.page(400), "This was used already, or took too long");
    assert_eq!(exchanges(&world), 0);
}

#[tokio::test]
async fn a_state_of_one_provider_is_nothing_to_another() {
    let (world, browser) = (World::open().await, Browser::new());
    let back = consented(&world, &browser, "u_1").await;
    let moved = back.replace("/callback/calendly", "/callback/calcom");
    assert_ne!(moved, back);
    let page = browser.get(&moved).await;
    assert_eq!(page.page(400), "This was used already, or took too long");
    let unknown = back.replace("/callback/calendly", "/callback/nobody");
    assert_eq!(
        browser.get(&unknown).await.page(404),
        "There is no such service"
    );
}

#[tokio::test]
async fn a_code_that_the_provider_does_not_take_may_be_tried_again() {
    let (world, browser) = (World::open().await, Browser::new());
    let back = consented(&world, &browser, "u_1").await;
    // Calendly's code lives for ten minutes.
    world
        .sandbox
        .calendly()
        .set(|switches| switches.clock_skew_secs = 601);
    let done = browser.get(&back).await;
    assert_eq!(done.result(), failed("calendly", "code-refused"));
    assert!(world.stored("calendly", "u_1").is_none());
    world
        .sandbox
        .calendly()
        .set(|switches| switches.clock_skew_secs = 0);
    let again = browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    assert!(again.result().contains("connection=connected"));
}

#[tokio::test]
async fn a_provider_in_trouble_is_told_from_a_refusal() {
    let trouble = [
        TokenMischief::Answer(Canned {
            status: 503,
            ..Canned::default()
        }),
        TokenMischief::Malformed {
            how: Malformation::Html,
        },
        TokenMischief::DropAfter,
        TokenMischief::HangAfter,
        TokenMischief::Missing,
    ];
    let (world, browser) = (World::open().await, Browser::new());
    for (nth, what) in trouble.into_iter().enumerate() {
        let user = format!("u_{nth}");
        let back = consented(&world, &browser, &user).await;
        world
            .sandbox
            .calendly()
            .fault_token(code_fault(what, Some(1)));
        let done = browser.get(&back).await;
        assert_eq!(
            done.result(),
            failed("calendly", "provider-unavailable"),
            "{nth}"
        );
        assert!(world.stored("calendly", &user).is_none());
    }
    // A code that may be spent is not shown again. The call without an answer is not in the log.
    assert_eq!(exchanges(&world), 4);
}

#[tokio::test]
async fn a_connection_that_breaks_may_have_carried_the_code_so_that_it_is_not_shown_again() {
    let (world, browser) = (World::open().await, Browser::new());
    let back = consented(&world, &browser, "u_1").await;
    let fault = code_fault(TokenMischief::DropBefore, Some(1));
    world.sandbox.calendly().fault_token(fault);
    let done = browser.get(&back).await;
    assert_eq!(done.result(), failed("calendly", "provider-unavailable"));
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_for_a_moment_is_tried_again() {
    // Nobody listens there yet.
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let world = World::with(Wanted {
        calendly_auth: Some(format!("http://{address}")),
        ..Wanted::default()
    })
    .await;
    let browser = Browser::new();
    let page = browser.get(&world.link("calendly", "u_1").await).await;
    let page = page
        .location(302)
        .replace(&format!("http://{address}"), world.sandbox.calendly_url());
    let back = browser.decide(&page, "alice", "approve").await;
    let coming = tokio::spawn(async move { browser.get(&back).await });
    sleep(Duration::from_millis(200)).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let provider = world.sandbox.calendly_address();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(provider).await.unwrap();
            tokio::io::copy_bidirectional(&mut near, &mut far)
                .await
                .ok();
        }
    });
    assert!(
        coming
            .await
            .unwrap()
            .result()
            .contains("connection=connected")
    );
}

#[tokio::test]
async fn a_client_that_the_provider_refuses_is_the_operators_business() {
    let world = World::with(Wanted {
        calendly_secret: Some("wrong".to_owned()),
        ..Wanted::default()
    })
    .await;
    let browser = Browser::new();
    let back = consented(&world, &browser, "u_1").await;
    assert_eq!(
        browser.get(&back).await.result(),
        failed("calendly", "client-refused")
    );
    let link = world.link_to("calendly", "u_1", None).await;
    let page = browser.allow(&link, "alice").await;
    assert_eq!(page.page(503), "Calendly is not connected");
    assert!(page.body.contains("tell the people who run it"), "{page:?}");
    assert!(
        !page.body.contains("<a "),
        "trying again is of no use: {page:?}"
    );
}

#[tokio::test]
async fn what_the_provider_tells_on_its_own_page_stays_there() {
    let (world, browser) = (World::open().await, Browser::new());
    world
        .sandbox
        .calendly()
        .set(|switches| switches.client_status = ClientStatus::Pending);
    let page = browser
        .get(&world.link("calendly", "u_1").await)
        .await
        .location(302);
    assert_eq!(browser.get(&page).await.status, 400);
}

#[tokio::test]
async fn errors_that_come_back_by_the_browser_are_told_apart() {
    let (world, browser) = (World::open().await, Browser::new());
    for (error, reason) in [
        ("invalid_scope", "scope-refused"),
        ("unauthorized_client", "client-refused"),
        ("temporarily_unavailable", "provider-unavailable"),
        ("<script>", "refused"),
    ] {
        let back = consented(&world, &browser, "u_1").await;
        let back = with_query(&back, |name, value| {
            (name == "state").then(|| value.to_owned())
        });
        let url = Url::parse_with_params(&back, [("error", error)]).unwrap();
        let done = browser.get(url.as_str()).await;
        assert_eq!(done.result(), failed("calendly", reason));
    }
}

#[tokio::test]
async fn an_unknown_scope_comes_back_as_the_operators_fault() {
    let world = World::with(Wanted {
        calendly_scope: "users:read bookings:read",
        ..Wanted::default()
    })
    .await;
    let browser = Browser::new();
    let page = browser
        .get(&world.link("calendly", "u_1").await)
        .await
        .location(302);
    let back = browser.get(&page).await.location(302);
    assert_eq!(
        browser.get(&back).await.result(),
        failed("calendly", "scope-refused")
    );
}

#[tokio::test]
async fn an_account_that_cannot_be_asked_for_just_now_is_connected_all_the_same() {
    let (world, browser) = (World::open().await, Browser::new());
    let fault = ApiFault {
        times: None,
        user: None,
        path: Some("/v2/me".to_owned()),
        what: ApiMischief::ServerError,
    };
    world.sandbox.calcom().fault_api(fault);
    // Cal.com's token names the account; only the organization stays unknown.
    let done = browser
        .allow(&world.link("calcom", "u_1").await, "alice")
        .await;
    assert_eq!(done.result(), "tab=1&connection=connected&provider=calcom");
    assert!(world.stored("calcom", "u_1").unwrap().external_id.is_some());
}

#[tokio::test]
async fn a_store_that_is_down_loses_nothing_that_is_not_begun() {
    let (world, browser) = (World::open().await, Browser::new());
    let link = world.link("calendly", "u_1").await;
    let back = consented(&world, &browser, "u_1").await;
    world.store.faults.lock().down = true;
    for url in [&link, &back] {
        let page = browser.get(url).await;
        assert_eq!(page.page(503), "This does not work just now");
        assert!(!page.header("retry-after").is_empty());
        assert_eq!(
            Browser::program().get(url).await.problem(503),
            "store-unavailable"
        );
    }
    let refused = world
        .connect
        .link(&World::key("calendly", "u_1"), None)
        .await;
    assert!(matches!(refused, Err(Error::Store(_))));
    assert!(world.connect.url(&World::key("calendly", "u_1")).is_some());
    world.store.faults.lock().down = false;
    assert!(
        browser
            .get(&back)
            .await
            .result()
            .contains("connection=connected")
    );
}

#[tokio::test]
async fn a_store_that_fails_for_a_moment_after_the_exchange_loses_nothing() {
    let (world, browser) = (World::open().await, Browser::new());
    let back = consented(&world, &browser, "u_1").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 300);
    let coming = tokio::spawn(async move { browser.get(&back).await });
    until("the state is taken", || {
        (world.kept.count(Purpose::Consent) == 0).then_some(())
    })
    .await;
    world.store.faults.lock().down = true;
    sleep(Duration::from_millis(600)).await;
    assert_eq!(exchanges(&world), 1);
    world.store.faults.lock().down = false;
    assert!(
        coming
            .await
            .unwrap()
            .result()
            .contains("connection=connected")
    );
}

#[tokio::test]
async fn a_store_that_stays_down_after_the_exchange_is_told() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    let before = world.stored("calendly", "u_1").unwrap();
    world.heard();
    let page = browser
        .get(&world.link("calendly", "u_1").await)
        .await
        .location(302);
    let back = browser.decide(&page, "bob", "approve").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 300);
    let coming = tokio::spawn(async move { browser.get(&back).await });
    until("the state is taken", || {
        (world.kept.count(Purpose::Consent) == 0).then_some(())
    })
    .await;
    world.store.faults.lock().refuse_saves = true;
    let done = coming.await.unwrap();
    assert_eq!(done.result(), failed("calendly", "store-unavailable"));
    // The old connection is as it was, and those who took back what they had set up are told so.
    let stored = world.stored("calendly", "u_1").unwrap();
    assert_eq!(
        (stored.generation, &stored.external_id),
        (before.generation, &before.external_id)
    );
    let account = before.external_id.unwrap();
    let account = account.rsplit('/').next().unwrap();
    assert_eq!(
        world.heard(),
        [
            "disconnecting calendly/u_1".to_owned(),
            format!("connected calendly/u_1 {account} again"),
        ]
    );
    assert!(
        !world
            .sandbox
            .calendly()
            .stats()
            .token_calls
            .contains_key("revoke:ok")
    );
}

#[tokio::test]
async fn a_drain_lets_an_arrival_come_to_its_end() {
    let (world, browser) = (World::open().await, Browser::new());
    let back = consented(&world, &browser, "u_1").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 800);
    let coming = tokio::spawn(async move { browser.get(&back).await });
    until("the state is taken", || {
        (world.kept.count(Purpose::Consent) == 0).then_some(())
    })
    .await;
    let drained = world.lifecycle.drain(Duration::from_secs(20)).await;
    assert_eq!(drained, daypass::base::lifecycle::Drained::Clean);
    drop(coming);
    assert!(world.stored("calendly", "u_1").is_some());
}
