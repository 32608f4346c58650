//! Disconnecting: in which order, and what becomes of the tokens.

use daypass::{
    sandbox::{Call, Canned, TokenFault, TokenMischief},
    token::Revocation,
};

use crate::{browser::Browser, world::World};

#[tokio::test]
async fn followers_are_told_before_and_after_and_the_tokens_are_revoked() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    world.heard();
    let key = World::key("calendly", "u_1");
    let done = world.connect.disconnect(&key).await.unwrap();
    assert_eq!(done, Some(Revocation::Revoked));
    assert!(world.stored("calendly", "u_1").is_none());
    assert_eq!(
        world.heard(),
        [
            "disconnecting calendly/u_1",
            "disconnected calendly/u_1 revoked"
        ]
    );
    assert_eq!(world.connect.disconnect(&key).await.unwrap(), None);
    assert_eq!(world.heard(), [""; 0]);
}

#[tokio::test]
async fn where_nothing_can_be_revoked_the_user_is_disconnected_all_the_same() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calcom", "u_1").await, "alice")
        .await;
    let done = world.connect.disconnect(&World::key("calcom", "u_1")).await;
    assert_eq!(done.unwrap(), Some(Revocation::NotOffered));
    browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    world.sandbox.calendly().fault_token(TokenFault {
        times: None,
        call: Some(Call::Revoke),
        what: TokenMischief::Answer(Canned {
            status: 503,
            ..Canned::default()
        }),
    });
    let done = world
        .connect
        .disconnect(&World::key("calendly", "u_1"))
        .await;
    assert_eq!(done.unwrap(), Some(Revocation::Failed));
    for provider in ["calcom", "calendly"] {
        assert!(world.stored(provider, "u_1").is_none());
    }
}

#[tokio::test]
async fn a_store_that_is_down_disconnects_nobody() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    world.heard();
    world.store.faults.lock().down = true;
    let refused = world
        .connect
        .disconnect(&World::key("calendly", "u_1"))
        .await;
    assert!(refused.is_err());
    assert_eq!(world.heard(), [""; 0]);
    assert!(world.stored("calendly", "u_1").is_some());
}
