//! Managed users at the emulated Cal.com.

use daypass::{
    provider::{Creation, ManagedUsers, More, NewManagedUser, Provider},
    sandbox::NewUser,
};

use crate::world::World;

#[tokio::test]
async fn a_user_is_made_once_then_adopted_and_can_be_deleted() {
    let world = World::open().await;
    let calcom = world.calcom();
    let order = NewManagedUser {
        email: "ada@example.org".to_owned(),
        name: "Ada".to_owned(),
        time_zone: Some("Europe/Berlin".to_owned()),
        locale: Some("de".to_owned()),
    };
    let Creation::Made { user, minted } = calcom.create(&order).await.unwrap() else {
        panic!("not made");
    };
    assert_eq!(minted.account.managed_user_id, Some(user.id));
    let Creation::Exists { id } = calcom.create(&order).await.unwrap() else {
        panic!("made twice");
    };
    assert_eq!(id, user.id);
    // Adopting has killed no token.
    let consent = calcom.consent().unwrap();
    consent.identify(&minted.access).await.unwrap();
    // Whoever adopts gets tokens by force.
    let forced = calcom.force_refresh(&minted.account).await.unwrap();
    consent.identify(&forced.access).await.unwrap();
    assert!(calcom.delete(user.id).await.unwrap());
    assert!(!calcom.delete(user.id).await.unwrap());
    let faulty = NewManagedUser {
        email: "nonsense".to_owned(),
        ..order
    };
    let creation = calcom.create(&faulty).await.unwrap();
    assert!(matches!(creation, Creation::Faulty));
}

#[tokio::test]
async fn a_list_that_the_service_cuts_short_says_so() {
    let world = World::open().await;
    let calcom = world.calcom();
    let mut number = 0;
    let mut add = |count: usize| {
        for _ in 0..count {
            number += 1;
            world.calcom_user(&NewUser::managed(&format!("user{number}")));
        }
    };
    add(3);
    let page = calcom.list(None).await.unwrap();
    assert_eq!((page.users.len(), page.more), (3, More::End));
    add(248);
    let page = calcom.list(None).await.unwrap();
    assert_eq!((page.users.len(), page.more), (250, More::After(250)));
    let page = calcom.list(Some(250)).await.unwrap();
    assert_eq!((page.users.len(), page.more), (1, More::End));
    add(300);
    let page = calcom.list(Some(250)).await.unwrap();
    assert_eq!((page.users.len(), page.more), (250, More::OutOfReach));
}
