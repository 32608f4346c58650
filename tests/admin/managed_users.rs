//! Users that the platform client makes and owns.

use serde_json::{Value, json};

use crate::world::{World, path};

fn order(user: &str, name: &str) -> Value {
    json!({
        "provider": "calcom",
        "user": user,
        "email": format!("{name}@example.org"),
        "name": name,
    })
}

#[tokio::test]
async fn one_is_made_listed_used_and_deleted() {
    let world = World::open().await;
    let made = world.post("/v1/managed-users", &order("u_1", "mia")).await;
    let made = made.must_be(201).json();
    assert_eq!(made["outcome"], "created");
    let id = made["connection"]["managed_user_id"].as_i64().unwrap();
    let me = world.outbound("u_1", "/calcom/v2/me").await;
    assert_eq!(me.status, 200, "{me:?}");
    let again = world.post("/v1/managed-users", &order("u_1", "mia")).await;
    assert_eq!(again.must_be(200).json()["outcome"], "unchanged");
    let list = world.get("/v1/managed-users?provider=calcom").await;
    let list = list.must_be(200).json();
    let mia = &list["items"][0];
    assert_eq!((&mia["id"], &mia["user"]), (&json!(id), &json!("u_1")));
    assert_eq!(list["next_cursor"], Value::Null);
    let at = "/v1/managed-users/calcom/u_1";
    let deleted = world.delete(at).await.must_be(200).json();
    assert_eq!(deleted, json!({ "deleted": true }));
    world.delete(at).await.must_be_problem(404, "not-connected");
    world
        .get(&path("calcom", "u_1"))
        .await
        .must_be_problem(404, "not-connected");
    let list = world.get("/v1/managed-users?provider=calcom").await.json();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn one_that_exists_is_adopted_unless_it_is_another_users() {
    let world = World::open().await;
    world
        .post("/v1/managed-users", &order("u_1", "mia"))
        .await
        .must_be(201);
    let taken = world.post("/v1/managed-users", &order("u_2", "mia")).await;
    taken.must_be_problem(409, "managed-user-taken");
    assert_eq!(taken.json()["user"], "u_1");
    world.delete(&path("calcom", "u_1")).await.must_be(200);
    let adopted = world.post("/v1/managed-users", &order("u_2", "mia")).await;
    assert_eq!(adopted.must_be(201).json()["outcome"], "adopted");
    let me = world.outbound("u_2", "/calcom/v2/me").await;
    assert_eq!(me.status, 200, "{me:?}");
    let other = world.post("/v1/managed-users", &order("u_2", "max")).await;
    other.must_be_problem(409, "other-account");
}

#[tokio::test]
async fn a_long_list_is_read_to_its_end() {
    let world = World::open().await;
    for number in 0..7 {
        let user = format!("u_{number}");
        world
            .post("/v1/managed-users", &order(&user, &user))
            .await
            .must_be(201);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let at = format!("/v1/managed-users?provider=calcom{cursor}");
        let page = world.get(&at).await.must_be(200).json();
        let items = page["items"].as_array().unwrap();
        seen.extend(
            items
                .iter()
                .map(|item| item["user"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    let all: Vec<_> = (0..7).map(|number| format!("u_{number}")).collect();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn each_field_of_an_order_is_checked() {
    let world = World::open().await;
    for field in ["provider", "user", "email", "name"] {
        for bad in [json!(7), json!("\n"), Value::Null] {
            let mut order = order("u_1", "mia");
            order[field] = bad;
            world
                .post("/v1/managed-users", &order)
                .await
                .must_name(field);
        }
        let mut order = order("u_1", "mia");
        order.as_object_mut().unwrap().remove(field);
        world
            .post("/v1/managed-users", &order)
            .await
            .must_name(field);
    }
    for field in ["time_zone", "locale"] {
        let mut order = order("u_1", "mia");
        order[field] = json!([]);
        world
            .post("/v1/managed-users", &order)
            .await
            .must_name(field);
    }
    let mut faulty = order("u_1", "mia");
    faulty["email"] = json!("no address");
    world
        .post("/v1/managed-users", &faulty)
        .await
        .must_be_problem(422, "managed-user-refused");
}

#[tokio::test]
async fn where_there_are_none_none_are_made() {
    let world = World::open().await;
    let mut elsewhere = order("u_1", "mia");
    elsewhere["provider"] = json!("calendly");
    let answer = world.post("/v1/managed-users", &elsewhere).await;
    answer.must_be_problem(409, "no-managed-users");
    world
        .get("/v1/managed-users?provider=calendly")
        .await
        .must_be_problem(409, "no-managed-users");
    for answer in [
        world.get("/v1/managed-users?provider=google").await,
        world.delete("/v1/managed-users/google/u_1").await,
    ] {
        answer.must_be_problem(404, "unknown-provider");
    }
    world.connected("anna").await;
    let consented = world.delete("/v1/managed-users/calendly/anna").await;
    consented.must_be_problem(409, "no-managed-users");
}

#[tokio::test]
async fn a_platform_client_that_is_refused_is_the_operators_to_mend() {
    let world = World::open().await;
    world.sandbox.calcom().set(|switches| {
        switches.calcom.platform_client_secret = "another".to_owned();
    });
    let answer = world.post("/v1/managed-users", &order("u_1", "mia")).await;
    answer.must_be_problem(503, "provider-misconfigured");
}
