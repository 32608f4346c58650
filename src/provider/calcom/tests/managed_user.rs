//! Managed users: making, adopting, listing, deleting.

use super::*;
use crate::provider::{Creation, ManagedUsers, More, NewManagedUser};

fn order() -> NewManagedUser {
    NewManagedUser {
        email: "ada@example.org".to_owned(),
        name: "Ada".to_owned(),
        ..NewManagedUser::default()
    }
}

fn made() -> Value {
    let mut body = keys();
    body["data"]["user"] = json!({"id": 42, "email": "ada+plat@example.org", "name": "Ada",
        "username": "ada"});
    body
}

#[tokio::test]
async fn a_new_user_comes_with_its_first_pair() {
    let server = Scripted::answering(json(201, &made())).await;
    let order = NewManagedUser {
        time_zone: Some("Europe/Berlin".to_owned()),
        ..order()
    };
    let Creation::Made { user, minted } = calcom(&server).create(&order).await.unwrap() else {
        panic!("not made");
    };
    assert_eq!(user.id, 42);
    assert_eq!(minted.account.managed_user_id, Some(42));
    assert_eq!(minted.account.external_id.as_deref(), Some("42"));
    assert_eq!(minted.access.danger_expose(), "ACCESS");
    let seen = server.only();
    assert_eq!(seen.target(), "POST /v2/oauth-clients/plat%2Fform/users");
    assert_eq!(seen.header("x-cal-secret-key"), Some("PLATFORM-SECRET"));
    let sent: Value = serde_json::from_str(&seen.body).unwrap();
    // One field more is refused.
    let expected = json!({"email": "ada@example.org", "name": "Ada", "timeZone": "Europe/Berlin"});
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn an_address_that_is_taken_leads_to_its_user() {
    let message = "User with the provided e-mail already exists. Existing user ID=4711";
    let bytes = json(409, &envelope("ConflictException", message));
    let server = Scripted::answering(bytes).await;
    let creation = calcom(&server).create(&order()).await.unwrap();
    assert!(matches!(creation, Creation::Exists { id: 4711 }));
    // No token was minted, so none was killed.
    server.only();
    let bytes = json(409, &envelope("ConflictException", "Something else"));
    let server = Scripted::answering(bytes).await;
    let result = calcom(&server).create(&order()).await;
    assert_eq!(outcome(result), "unexpected: 409 Conflict");
}

#[tokio::test]
async fn an_order_that_cal_com_finds_fault_with_is_told_so() {
    let bytes = json(
        400,
        &envelope("BadRequestException", "email must be an email"),
    );
    let server = Scripted::answering(bytes).await;
    let creation = calcom(&server).create(&order()).await.unwrap();
    assert!(matches!(creation, Creation::Faulty));
}

#[tokio::test]
async fn a_refused_client_is_told_apart() {
    let message = "ApiAuthStrategy - oAuth client - Invalid client secret";
    let bytes = json(401, &envelope("UnauthorizedException", message));
    let play = Play::Answer(bytes);
    let server = Scripted::start(vec![play.clone(), play.clone(), play]).await;
    let calcom = calcom(&server);
    let expected = "client: invalid_client_credentials";
    assert_eq!(outcome(calcom.create(&order()).await), expected);
    assert_eq!(outcome(calcom.list(None).await), expected);
    assert_eq!(outcome(calcom.delete(42).await), expected);
}

#[tokio::test]
async fn a_list_says_when_it_is_cut_short() {
    let users = |count: i64| {
        let users: Vec<_> = (0..count)
            .map(|id| json!({"id": id, "email": "e"}))
            .collect();
        Play::Answer(json(200, &json!({"status": "success", "data": users})))
    };
    let server = Scripted::start(vec![users(250), users(250), users(249)]).await;
    let calcom = calcom(&server);
    let first = calcom.list(None).await.unwrap();
    assert_eq!((first.users.len(), first.more), (250, More::After(250)));
    let target = "GET /v2/oauth-clients/plat%2Fform/users?limit=250&offset=0";
    assert_eq!(server.last().target(), target);
    let second = calcom.list(Some(250)).await.unwrap();
    assert_eq!(second.more, More::OutOfReach);
    let target = "GET /v2/oauth-clients/plat%2Fform/users?limit=250&offset=250";
    assert_eq!(server.last().target(), target);
    let third = calcom.list(Some(250)).await.unwrap();
    assert_eq!((third.users.len(), third.more), (249, More::End));
}

#[tokio::test]
async fn a_user_who_is_not_there_is_as_good_as_deleted() {
    let gone = "User with ID 42 is not part of this OAuth client.";
    let server = Scripted::start(vec![
        Play::Answer(json(200, &made())),
        Play::Answer(json(404, &envelope("NotFoundException", gone))),
        Play::Answer(json(404, &envelope("NotFoundException", "Cannot DELETE"))),
    ])
    .await;
    let calcom = calcom(&server);
    assert!(calcom.delete(42).await.unwrap());
    let target = "DELETE /v2/oauth-clients/plat%2Fform/users/42";
    assert_eq!(server.last().target(), target);
    assert!(!calcom.delete(42).await.unwrap());
    assert_eq!(
        outcome(calcom.delete(42).await),
        "unexpected: 404 Not Found"
    );
}

#[tokio::test]
async fn without_a_platform_client_there_are_no_managed_users() {
    let server = Scripted::start(Vec::new()).await;
    let mut config = config(&server);
    assert!(calcom(&server).managed_users().is_some());
    config.platform_client_id = None;
    assert!(Calcom::new(config, calls()).managed_users().is_none());
}
