//! Managed users: made, adopted, listed, deleted.

use daypass::{
    connect::{Error, Managed},
    provider::{More, NewManagedUser},
};

use crate::{
    browser::{Browser, client},
    world::World,
};

fn order(name: &str) -> NewManagedUser {
    NewManagedUser {
        email: format!("{name}@example.org"),
        name: name.to_owned(),
        ..NewManagedUser::default()
    }
}

#[tokio::test]
async fn a_managed_user_is_made_and_connected_with_its_first_tokens() {
    let world = World::open().await;
    let key = World::key("calcom", "u_1");
    let made = world
        .connect
        .create_managed(&key, &order("mia"))
        .await
        .unwrap();
    let Managed::Created(connection) = made else {
        panic!("{made:?}");
    };
    assert!(connection.managed_user_id.is_some());
    assert_eq!(world.heard(), ["connected calcom/u_1 ? first"]);
    let url = format!("{}/v2/me", world.sandbox.calcom_url());
    let token = world.token("calcom", "u_1").await;
    let me = client().get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(me.status(), 200);
    assert!(
        !world
            .sandbox
            .calcom()
            .stats()
            .token_calls
            .contains_key("force_refresh:ok")
    );
}

#[tokio::test]
async fn creating_twice_changes_nothing() {
    let world = World::open().await;
    let key = World::key("calcom", "u_1");
    world
        .connect
        .create_managed(&key, &order("mia"))
        .await
        .unwrap();
    let before = world.token("calcom", "u_1").await;
    let again = world
        .connect
        .create_managed(&key, &order("mia"))
        .await
        .unwrap();
    assert!(matches!(again, Managed::Unchanged(_)), "{again:?}");
    assert_eq!(world.token("calcom", "u_1").await, before);
}

#[tokio::test]
async fn an_account_that_exists_is_adopted_and_gets_its_tokens_with_the_first_request() {
    let world = World::open().await;
    let key = World::key("calcom", "u_1");
    world
        .connect
        .create_managed(&key, &order("mia"))
        .await
        .unwrap();
    let id = world.stored("calcom", "u_1").unwrap().managed_user_id;
    world.connect.disconnect(&key).await.unwrap();
    let adopted = world
        .connect
        .create_managed(&key, &order("mia"))
        .await
        .unwrap();
    let Managed::Adopted(connection) = adopted else {
        panic!("{adopted:?}");
    };
    assert_eq!(connection.managed_user_id, id);
    assert_eq!(connection.generation.get(), 0);
    let token = world.token("calcom", "u_1").await;
    let url = format!("{}/v2/me", world.sandbox.calcom_url());
    let me = client().get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(me.status(), 200);
}

#[tokio::test]
async fn a_managed_user_belongs_to_one_user() {
    let world = World::open().await;
    let (one, two) = (World::key("calcom", "u_1"), World::key("calcom", "u_2"));
    world
        .connect
        .create_managed(&one, &order("mia"))
        .await
        .unwrap();
    let refused = world.connect.create_managed(&two, &order("mia")).await;
    let Err(Error::Taken { user }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(user.as_str(), "u_1");
    assert!(world.stored("calcom", "u_2").is_none());
    // Nor does one user get a second one in passing.
    let refused = world.connect.create_managed(&one, &order("max")).await;
    assert!(
        matches!(refused, Err(Error::OtherAccount { .. })),
        "{refused:?}"
    );
    let list = world
        .connect
        .list_managed(&one.provider, None)
        .await
        .unwrap();
    let names: Vec<_> = list
        .users
        .iter()
        .map(|(user, owner)| {
            (
                user.name.clone().unwrap(),
                owner.as_ref().map(ToString::to_string),
            )
        })
        .collect();
    assert_eq!(names, [("mia".to_owned(), Some("u_1".to_owned()))]);
    assert_eq!(list.more, More::End);
}

#[tokio::test]
async fn a_user_who_has_consented_is_not_replaced_by_a_managed_one() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calcom", "u_1").await, "alice")
        .await;
    let key = World::key("calcom", "u_1");
    let refused = world.connect.create_managed(&key, &order("mia")).await;
    assert!(
        matches!(refused, Err(Error::OtherAccount { .. })),
        "{refused:?}"
    );
    let list = world
        .connect
        .list_managed(&key.provider, None)
        .await
        .unwrap();
    assert_eq!(list.users, []);
    let refused = world.connect.delete_managed(&key).await;
    assert!(matches!(refused, Err(Error::NotManaged)), "{refused:?}");
}

#[tokio::test]
async fn a_managed_user_that_is_deleted_is_gone_on_both_sides() {
    let world = World::open().await;
    let key = World::key("calcom", "u_1");
    world
        .connect
        .create_managed(&key, &order("mia"))
        .await
        .unwrap();
    world.heard();
    assert!(world.connect.delete_managed(&key).await.unwrap());
    assert!(world.stored("calcom", "u_1").is_none());
    let list = world
        .connect
        .list_managed(&key.provider, None)
        .await
        .unwrap();
    assert_eq!(list.users, []);
    assert!(!world.connect.delete_managed(&key).await.unwrap());
    let heard = world.heard();
    assert_eq!(
        heard.first().map(String::as_str),
        Some("disconnecting calcom/u_1")
    );
    assert_eq!(
        heard.last().map(String::as_str),
        Some("disconnected calcom/u_1 not_offered")
    );
}

#[tokio::test]
async fn a_faulty_order_and_a_provider_without_managed_users_are_told() {
    let world = World::open().await;
    let faulty = NewManagedUser {
        email: "no address".to_owned(),
        ..order("mia")
    };
    let refused = world
        .connect
        .create_managed(&World::key("calcom", "u_1"), &faulty)
        .await;
    assert!(matches!(refused, Err(Error::Faulty)), "{refused:?}");
    let refused = world
        .connect
        .create_managed(&World::key("calendly", "u_1"), &order("mia"))
        .await;
    assert!(
        matches!(refused, Err(Error::NoManagedUsers { .. })),
        "{refused:?}"
    );
}
