//! How the document tells of problems: each status once, with all that it may be.

use serde_json::{Map, Value, json};

use crate::admin::kinds::{self, Kind};

/// What the answer of a status is called that is the same wherever it is given.
pub(super) const fn shared(status: u16) -> Option<&'static str> {
    Some(match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        413 => "BodyTooLarge",
        415 => "NotJson",
        _ => return None,
    })
}

/// Those answers, and what should not be.
pub(super) fn shared_answers() -> Value {
    let mut responses = Map::new();
    responses.insert("Fault".to_owned(), fault());
    for status in [401, 403, 413, 415] {
        let kinds: Vec<Kind> = kinds::ALL
            .iter()
            .copied()
            .filter(|kind| kind.status.as_u16() == status)
            .collect();
        if let Some(name) = shared(status) {
            responses.insert(name.to_owned(), answer(status, &kinds));
        }
    }
    Value::Object(responses)
}

/// The answer of one status, whatever of these kinds it is.
pub(super) fn answer(status: u16, kinds: &[Kind]) -> Value {
    let words: Vec<String> = kinds.iter().map(|kind| kind.urn()).collect();
    let titles: Vec<String> = kinds
        .iter()
        .map(|kind| format!("`{}`: {}.", kind.slug, kind.title))
        .collect();
    let header = match status {
        401 => Some((
            "WWW-Authenticate",
            "That a bearer token is asked for",
            "string",
        )),
        503 => Some(("Retry-After", "When to come back, in seconds", "integer")),
        _ => None,
    };
    let mut told = Map::new();
    told.insert("description".to_owned(), titles.join(" ").into());
    if let Some((name, what, kind)) = header {
        let header = json!({ "required": true, "description": what, "schema": { "type": kind } });
        told.insert("headers".to_owned(), json!({ name: header }));
    }
    let schema = json!({
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "properties": { "type": { "enum": words }, "status": { "const": status } } },
        ],
    });
    let content = json!({ "application/problem+json": { "schema": schema } });
    told.insert("content".to_owned(), content);
    Value::Object(told)
}

/// What should not be.
fn fault() -> Value {
    json!({
        "description": "A fault of Daypass, which the log tells more of: 500 `internal-error`.",
        "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" },
        } },
    })
}

/// As [`Problem`](crate::http::problem::Problem) writes itself, with the members that are added here.
pub(super) fn schema() -> Value {
    let words: Vec<String> = kinds::ALL.iter().map(|kind| kind.urn()).collect();
    let text = |what: &str| json!({ "type": "string", "description": what });
    json!({
        "description": "What is in the way (RFC 9457).",
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "format": "uri", "enum": words },
            "title": text("The same for all of its type."),
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": text("What happened, for people. Never what came with the call."),
            "parameter": text("Which parameter of the address or the query cannot be used."),
            "field": text("Which field of the body cannot be used."),
            "pointer": text("The same as a JSON pointer (RFC 6901)."),
            "reason": text("`needs-reauth`: why."),
            "since": { "type": "string", "format": "date-time", "description": "`needs-reauth`: since when." },
            "user": text("`managed-user-taken`: who has it."),
        },
        "examples": [{
            "type": "urn:daypass:problem:invalid-body",
            "title": "The body cannot be used",
            "status": 400,
            "detail": "user is missing",
            "field": "user",
            "pointer": "/user",
        }],
    })
}
