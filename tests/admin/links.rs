//! Links that let a user connect.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_link_leads_to_the_ingress_listener_and_ends() {
    let world = World::open().await;
    let order = json!({ "provider": "calendly", "user": "u_1" });
    let link = world
        .post("/v1/connect-links", &order)
        .await
        .must_be(201)
        .json();
    let url = link["url"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:9/connect/"), "{url}");
    assert!(link["expires_at"].is_string());
    let order = json!({
        "provider": "calendly", "user": "u_1", "return_to": "https://app.example.org/done",
    });
    world.post("/v1/connect-links", &order).await.must_be(201);
}

#[tokio::test]
async fn each_field_of_a_link_is_checked() {
    let world = World::open().await;
    for (body, field) in [
        (json!({ "user": "u_1" }), "provider"),
        (json!({ "provider": "calendly" }), "user"),
        (json!({ "provider": "Cal.com", "user": "u_1" }), "provider"),
        (json!({ "provider": "calendly", "user": "a b" }), "user"),
        (
            json!({ "provider": "calendly", "user": "u_1", "return_to": 7 }),
            "return_to",
        ),
    ] {
        world
            .post("/v1/connect-links", &body)
            .await
            .must_name(field);
    }
    let elsewhere = json!({
        "provider": "calendly", "user": "u_1", "return_to": "https://evil.example/",
    });
    let answer = world.post("/v1/connect-links", &elsewhere).await;
    answer.must_be_problem(400, "invalid-return-to");
    let unknown = json!({ "provider": "google", "user": "u_1" });
    world
        .post("/v1/connect-links", &unknown)
        .await
        .must_be_problem(404, "unknown-provider");
}
