//! Links: who gets one, how long they work, and where they let a browser return to.

use std::time::Duration;

use daypass::{connect::Error, store::Purpose};

use crate::{
    browser::Browser,
    world::{APP, Wanted, World},
};

#[tokio::test]
async fn a_link_ends_after_a_quarter_of_an_hour() {
    let (world, browser) = (World::open().await, Browser::new());
    let key = World::key("calendly", "u_1");
    let link = world.connect.link(&key, None).await.unwrap();
    let bearing = world.connect.url(&key).unwrap();
    world.clock.advance(Duration::from_secs(15 * 60 - 1));
    for url in [&link.url, &bearing] {
        browser.get(url).await.location(302);
    }
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(
        daypass::base::clock::Clock::now(&world.clock),
        link.expires_at
    );
    for url in [&link.url, &bearing] {
        assert_eq!(browser.get(url).await.page(410), "This link has expired");
        assert_eq!(
            Browser::program().get(url).await.problem(410),
            "link-expired"
        );
    }
}

#[tokio::test]
async fn a_link_that_costs_nothing_connects_its_user_and_writes_nothing_before() {
    let (world, browser) = (World::open().await, Browser::new());
    let url = world.connect.url(&World::key("calendly", "u_1")).unwrap();
    assert_eq!(world.kept.count(Purpose::Ticket), 0);
    let here = format!("{APP}/here?a=b");
    let link = reqwest::Url::parse_with_params(&url, [("return_to", &here)]).unwrap();
    let done = browser.allow(link.as_str(), "alice").await;
    assert_eq!(
        done.location(303),
        format!("{APP}/here?a=b&connection=connected&provider=calendly")
    );
    assert!(world.stored("calendly", "u_1").is_some());
    // Without an address it ends with a page.
    assert_eq!(
        browser.allow(&url, "alice").await.page(200),
        "Calendly is connected"
    );
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_refused_wherever_it_comes_from() {
    let (world, browser) = (World::open().await, Browser::new());
    let key = World::key("calendly", "u_1");
    for bad in [
        "https://evil.example/",
        "/settings",
        "//evil.example",
        "https://app.example.org@evil.example/",
    ] {
        let refused = world.connect.link(&key, Some(bad)).await;
        assert!(matches!(refused, Err(Error::ReturnTo(_))), "{bad}");
        let url = world.connect.url(&key).unwrap();
        let url = reqwest::Url::parse_with_params(&url, [("return_to", bad)]).unwrap();
        let page = browser.get(url.as_str()).await;
        assert_eq!(page.page(400), "This link is not set up correctly");
        assert!(!page.body.contains("evil"), "{page:?}");
        assert_eq!(
            Browser::program().get(url.as_str()).await.problem(400),
            "return-not-allowed"
        );
    }
    assert_eq!(world.kept.count(Purpose::Consent), 0);
}

#[tokio::test]
async fn the_address_that_the_app_gave_cannot_be_changed_in_the_link() {
    let (world, browser) = (World::open().await, Browser::new());
    let link = world.link("calendly", "u_1").await;
    let done = browser
        .allow(&format!("{link}?return_to={APP}/elsewhere"), "alice")
        .await;
    assert!(done.location(303).starts_with(&format!("{APP}/done?")));
}

#[tokio::test]
async fn what_is_no_ticket_is_told_so_without_a_look_into_the_store() {
    let (world, browser) = (World::open().await, Browser::new());
    let key = World::key("calendly", "u_1");
    let bearing = world.connect.url(&key).unwrap();
    let (start, sealed) = bearing.split_once('~').unwrap();
    let moved = format!("{}/connect/calcom~{sealed}", world.ingress);
    let flipped = format!("{start}~{}A{}", &sealed[..20], &sealed[21..]);
    let cut = format!("{start}~{}", &sealed[..40]);
    world.store.faults.lock().down = true;
    let at = |ticket: &str| format!("{}/connect/{ticket}", world.ingress);
    let made_up = [
        at("x"),
        at("calendly"),
        at("calendly."),
        at("calendly.short"),
        at("Calendly.x"),
        at("~"),
        at("calendly~"),
        at("calendly~!!!"),
        at(&"x".repeat(3000)),
        moved,
        flipped,
        cut,
    ];
    for url in made_up {
        assert_eq!(
            browser.get(&url).await.page(410),
            "This link has expired",
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_ticket_that_nobody_made_is_not_found() {
    let (world, browser) = (World::open().await, Browser::new());
    let link = world.link("calendly", "u_1").await;
    let (start, _) = link.rsplit_once('.').unwrap();
    let forged = format!("{start}.{}", "A".repeat(43));
    assert_eq!(
        browser.get(&forged).await.page(410),
        "This link has expired"
    );
    // One provider's ticket is not another's.
    let moved = link.replace("/connect/calendly.", "/connect/calcom.");
    assert_eq!(browser.get(&moved).await.page(410), "This link has expired");
}

#[tokio::test]
async fn a_link_that_is_opened_without_end_is_refused_for_a_while() {
    let (world, browser) = (World::open().await, Browser::new());
    let (link, other) = (
        world.link("calendly", "u_1").await,
        world.link("calendly", "u_1").await,
    );
    let mut opened = 0;
    let refused = loop {
        let seen = browser.get(&link).await;
        if seen.status != 302 {
            break seen;
        }
        opened += 1;
    };
    assert!((20..30).contains(&opened), "{opened}");
    assert_eq!(refused.page(429), "One moment, please");
    assert!(!refused.header("retry-after").is_empty());
    browser.get(&other).await.location(302);
}

#[tokio::test]
async fn without_a_public_address_there_are_no_links() {
    let world = World::with(Wanted {
        public_url: false,
        ..Wanted::default()
    })
    .await;
    let key = World::key("calendly", "u_1");
    assert!(matches!(
        world.connect.link(&key, None).await,
        Err(Error::Disabled)
    ));
    assert_eq!(world.connect.url(&key), None);
    let nothing = Browser::new()
        .get(&format!("{}/connect/calendly.x", world.ingress))
        .await;
    assert_eq!(nothing.page(404), "There is nothing here");
}

#[tokio::test]
async fn a_provider_without_a_client_gives_no_link_that_leads_nowhere() {
    let world = World::with(Wanted {
        calendly_id: None,
        ..Wanted::default()
    })
    .await;
    let key = World::key("calendly", "u_1");
    let refused = world.connect.link(&key, None).await.unwrap_err();
    assert!(
        matches!(refused, Error::NotConfigured { .. }),
        "{refused:?}"
    );
    assert_eq!(world.connect.url(&key), None);
    let unknown = World::key("nobody", "u_1");
    let refused = world.connect.link(&unknown, None).await.unwrap_err();
    assert!(
        matches!(refused, Error::UnknownProvider { .. }),
        "{refused:?}"
    );
    assert_eq!(world.connect.url(&unknown), None);
}

#[tokio::test]
async fn links_are_not_printed_by_accident() {
    let world = World::open().await;
    let link = world
        .connect
        .link(&World::key("calendly", "u_1"), None)
        .await
        .unwrap();
    assert!(!format!("{link:?}").contains("connect/"));
}
