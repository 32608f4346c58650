//! The description itself: that it is one, that it tells everything, and that the limits that it names are
//! those of the server.

use std::collections::BTreeSet;

use daypass::admin;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    conformance::{Trial, document, example, filled},
    specification::Specification,
    world::{Answer, World},
};

#[test]
fn the_description_is_one_of_openapi() {
    let document = document();
    let schema = include_str!("openapi-3.1.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let mut broken = document;
    broken["paths"]["/livez"]["get"]["responses"] = json!([]);
    assert!(!validator.is_valid(&broken), "it judges");
}

#[test]
fn the_description_tells_everything_and_its_examples_fit() {
    let judge = Specification::of(document());
    let text = admin::description();
    assert!(
        !text.contains("[`"),
        "what only the code's reader can follow"
    );
    let schemas = judge.document["components"]["schemas"].as_object();
    let mut examples = 0;
    for (name, schema) in schemas.unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for example in schema["examples"].as_array().into_iter().flatten() {
            let whole = json!({ "$ref": format!("#/components/schemas/{name}") });
            judge.must_fit(&whole, example, name);
            examples += 1;
        }
        for (field, told) in schema["properties"].as_object().into_iter().flatten() {
            let is_told = told["description"].is_string() || name == "Problem";
            assert!(is_told, "{name}.{field} is not described");
        }
    }
    assert!(examples >= 10, "{examples}");
    for (id, operation) in judge.operations() {
        let told = &operation.told;
        assert!(told["summary"].as_str().unwrap().ends_with('.'), "{id}");
        for parameter in told["parameters"].as_array().into_iter().flatten() {
            assert!(
                !parameter["description"].as_str().unwrap_or("").is_empty(),
                "{id} {parameter}"
            );
        }
        let body = &told["requestBody"];
        assert!(
            body.is_null() || example(&judge, &operation).is_some(),
            "{id} has no example"
        );
        let is_open = told["security"].as_array().unwrap().is_empty();
        assert_eq!(is_open, !operation.path.starts_with("/v1/"), "{id}");
    }
}

#[tokio::test]
async fn other_methods_than_those_described_are_refused_with_those_that_are() {
    let judge = Specification::of(document());
    let world = World::open().await;
    let paths = judge.document["paths"].as_object().unwrap();
    for (path, item) in paths {
        let mut allowed: BTreeSet<String> = item
            .as_object()
            .unwrap()
            .keys()
            .map(|method| method.to_ascii_uppercase())
            .collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD".to_owned());
        }
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"] {
            if allowed.contains(method) {
                continue;
            }
            let answer = Answer::read(world.call(method, &filled(path))).await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(
                answer.json()["type"],
                "urn:daypass:problem:method-not-allowed"
            );
            let told = answer.header("allow").split(',').map(str::trim);
            let told: BTreeSet<String> = told.map(str::to_owned).collect();
            assert_eq!(told, allowed, "{method} {path}");
        }
    }
}

/// Values that the schema of a parameter, or of a field, does not allow.
fn unfit(judge: &Specification, schema: &Value) -> Vec<Value> {
    let told = judge.schema(schema);
    let mut unfit = Vec::new();
    if let Some(least) = told["minimum"].as_i64() {
        unfit.push(json!(least - 1));
    }
    if let Some(most) = told["maximum"].as_i64() {
        unfit.push(json!(most + 1));
    }
    if let Some(most) = told["maxLength"].as_u64() {
        unfit.push(json!("a".repeat(usize::try_from(most).unwrap() + 1)));
    }
    if told["minLength"] == 1 {
        unfit.push(json!(""));
    }
    if told["pattern"].is_string() {
        unfit.push(json!("\u{1f39f}"));
    }
    if told["format"] == "date-time" || told["oneOf"].is_array() || told["enum"].is_array() {
        unfit.push(json!("nothing of the sort"));
    }
    unfit
}

#[tokio::test]
async fn the_limits_of_parameters_are_what_is_described() {
    let judge = Specification::of(document());
    let trial = Trial::new(World::open().await, &judge);
    let mut tried = 0;
    for (id, operation, at) in trial.guarded() {
        let parameters = operation.told["parameters"].as_array();
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            for value in unfit(&judge, &parameter["schema"]) {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                let in_path = parameter["in"] == "path";
                if in_path && text.is_empty() {
                    continue;
                }
                let at = if in_path {
                    operation
                        .path
                        .replace(&format!("{{{name}}}"), &text)
                        .replace("{provider}", "calendly")
                        .replace("{user}", "anna")
                } else {
                    let needed = match id.as_str() {
                        "listMeetings" if name != "user" => "user=anna&",
                        "listManagedUsers" if name != "provider" => "provider=calcom&",
                        "listConnections" if name == "user_prefix" => "provider=calendly&",
                        _ => "",
                    };
                    format!("{at}?{needed}{name}={text}")
                };
                let mut call = trial.world.call(&operation.method, &at);
                if let Some(body) = example(&judge, operation) {
                    call = call.json(&body);
                }
                let answer = trial.is(id, 400, call).await;
                assert_eq!(answer.json()["parameter"], name, "{at}: {answer:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 40, "{tried}");
}

#[tokio::test]
async fn the_fields_of_bodies_are_what_is_described_and_a_bad_one_is_pointed_at() {
    let judge = Specification::of(document());
    let trial = Trial::new(World::open().await, &judge);
    let mut tried = 0;
    for (id, operation, at) in trial.guarded() {
        let Some(good) = example(&judge, operation) else {
            continue;
        };
        let schema = &operation.told["requestBody"]["content"]["application/json"]["schema"];
        let schema = judge.schema(schema);
        let call = async |body: &Value| {
            let call = trial.world.call(&operation.method, &at).json(body);
            trial.is(id, 400, call).await
        };
        for (name, told) in schema["properties"].as_object().unwrap() {
            let of = match told["anyOf"].get(0) {
                Some(first) => first,
                None => told,
            };
            let mut bad = unfit(&judge, of);
            bad.push(json!({ "not": "this" }));
            for value in bad {
                let mut body = good.clone();
                body[name] = value;
                let answer = call(&body).await;
                answer.must_be_problem(400, "invalid-body");
                assert_eq!(
                    answer.json()["pointer"],
                    format!("/{name}"),
                    "{id} {body}: {answer:?}"
                );
                tried += 1;
            }
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(name.as_str().unwrap());
            let answer = call(&body).await;
            assert_eq!(
                answer.json()["pointer"],
                format!("/{}", name.as_str().unwrap())
            );
        }
        let mut body = good.clone();
        body["not-known-here"] = json!(1);
        call(&body).await.must_be_problem(400, "invalid-body");
    }
    assert!(tried > 20, "{tried}");
}
