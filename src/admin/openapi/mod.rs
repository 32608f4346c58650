//! The description of the admin listener as a document of OpenAPI 3.1, made from the table of its
//! routes.
//!
//! 1. A route says what is its own ([`Operation`]). What every call below `/v1` has in common is added
//!    here: the token, what a query or a body may be refused for, a store that does not answer.
//! 2. Every status that is named can be had, and no other is ever answered but 500 `internal-error`,
//!    which is the `default`: `tests/admin` provokes each.
//! 3. The status page is for people, and is not in it.

use std::sync::LazyLock;

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    api,
    kinds::{self, Kind},
    probes,
    route::{Answer, Content, Operation},
};

mod problems;

/// The document, as text.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let text = serde_json::to_string_pretty(&document());
    // It consists of nothing but strings, numbers, lists and objects.
    text.unwrap_or_default() + "\n"
});

const ABOUT: &str = "\
Manages every connection of a Daypass sidecar, and never answers with a token or a secret.

* **Who may call.** Where `admin.token` or `admin.token_file` is set, every call below `/v1` shows it as a \
bearer token. Without one, only processes on the same machine may call, and no web page.
* **Lists** answer `items` and `next_cursor`. Ask again with `cursor` for the next page, until that is \
`null`. A cursor is opaque and good for its own list only.
* **Problems** are `application/problem+json` (RFC 9457). `type` is for programs, `detail` for people.
* **What is not known** in a query or a body is refused, and what does not fit is named.
* An address that is not here answers 404 `not-found`; another method than those of an address, 405 \
`method-not-allowed` with `Allow`. Wherever there is GET, there is HEAD.";

/// The text of the document, with a line end.
pub fn text() -> &'static str {
    &TEXT
}

/// Everything that is told.
fn document() -> Value {
    let mut writer = Writer::new();
    let mut paths: Map<String, Value> = Map::new();
    let operations = probes::operations()
        .into_iter()
        .map(|operation| (operation.path.to_owned(), operation, Access::Open))
        .chain(api::operations().into_iter().map(|operation| {
            let path = format!("/v1{}", operation.path);
            (path, operation, Access::Guarded)
        }));
    for (path, operation, access) in operations {
        let told = writer.operation(&path, &operation, access);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(item) = item {
            item.insert(operation.method.to_ascii_lowercase(), told);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Daypass: the API for operators",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:7422", "description": "admin.listen, by default" }],
        "paths": paths,
        "components": {
            "schemas": writer.schemas(),
            "responses": problems::shared_answers(),
            "securitySchemes": {
                "adminToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`admin.token`, or the content of `admin.token_file`, which is read \
                        again when it changes.",
                },
            },
        },
    })
}

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Whoever reaches the listener.
    Open,
    /// Whoever shows the token.
    Guarded,
}

/// Writes operations, and collects the schemas that they name.
struct Writer {
    /// Of what is read.
    asked: SchemaGenerator,
    /// Of what is written.
    answered: SchemaGenerator,
}

// === impl Writer ===

impl Writer {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self {
            asked: settings.clone().for_deserialize().into_generator(),
            answered: settings.for_serialize().into_generator(),
        }
    }

    fn operation(&mut self, path: &str, operation: &Operation, access: Access) -> Value {
        let query = operation.query.map(|schema| schema(&mut self.asked));
        let mut parameters = path_parameters(path);
        let has_cursor = query.as_ref().is_some_and(|query| has(query, "cursor"));
        parameters.extend(query.iter().flat_map(query_parameters));
        let problems = all_problems(operation, access, has_cursor);
        let mut told = Map::new();
        let mut tell = |name: &str, value: Value| told.insert(name.to_owned(), value);
        tell("operationId", operation.id.into());
        tell("summary", operation.summary.into());
        if !operation.more.is_empty() {
            tell("description", operation.more.into());
        }
        tell("tags", json!([tag(path)]));
        let security = match access {
            Access::Open => json!([]),
            // Or none, where no token is configured.
            Access::Guarded => json!([{ "adminToken": [] }, {}]),
        };
        tell("security", security);
        if !parameters.is_empty() {
            tell("parameters", parameters.into());
        }
        if let Some(schema) = operation.body {
            let body = json!({
                "required": true,
                "description": "Up to 64 KiB.",
                "content": { "application/json": { "schema": schema(&mut self.asked) } },
            });
            tell("requestBody", body);
        }
        tell("responses", self.responses(operation, &problems));
        Value::Object(told)
    }

    fn responses(&mut self, operation: &Operation, problems: &[Kind]) -> Value {
        let mut responses = Map::new();
        for answer in &operation.answers {
            responses.insert(answer.status.to_string(), self.answer(answer));
        }
        let mut statuses: Vec<u16> = problems.iter().map(|kind| kind.status.as_u16()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        for status in statuses {
            let kinds: Vec<Kind> = problems
                .iter()
                .copied()
                .filter(|kind| kind.status.as_u16() == status)
                .collect();
            let told = match problems::shared(status) {
                Some(name) => json!({ "$ref": format!("#/components/responses/{name}") }),
                None => problems::answer(status, &kinds),
            };
            responses.insert(status.to_string(), told);
        }
        let fault = json!({ "$ref": "#/components/responses/Fault" });
        responses.insert("default".to_owned(), fault);
        Value::Object(responses)
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let content = match answer.content {
            Content::Json(schema) => {
                json!({ "application/json": { "schema": schema(&mut self.answered) } })
            }
            Content::Text(media) => json!({ media: { "schema": { "type": "string" } } }),
        };
        json!({ "description": answer.what, "content": content })
    }

    /// Every schema that was named.
    fn schemas(mut self) -> Value {
        let mut schemas = self.asked.take_definitions(true);
        schemas.extend(self.answered.take_definitions(true));
        schemas.insert("Problem".to_owned(), problems::schema());
        Value::Object(schemas)
    }
}

/// The problems of an operation, with those that it shares with others.
fn all_problems(operation: &Operation, access: Access, has_cursor: bool) -> Vec<Kind> {
    let mut problems = operation.problems.clone();
    if access == Access::Open {
        return problems;
    }
    problems.extend([
        kinds::INVALID_PARAMETER,
        kinds::UNAUTHORIZED,
        kinds::ADMIN_TOKEN_NOT_CONFIGURED,
        kinds::ORIGIN_NOT_ALLOWED,
    ]);
    if has_cursor {
        problems.push(kinds::INVALID_CURSOR);
    }
    if operation.body.is_some() {
        problems.extend([kinds::INVALID_BODY, kinds::NOT_JSON, kinds::BODY_TOO_LARGE]);
    }
    if operation.method != "GET" {
        problems.push(kinds::OVERLOADED);
    }
    problems
}

/// `/v1/connections/…` is of `connections`.
fn tag(path: &str) -> &str {
    match path.strip_prefix("/v1/") {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => "probes",
    }
}

/// The parameters that stand in braces.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let told = names.map(|name| {
        let (what, schema) = match name {
            "provider" => (
                "The provider's name in the configuration.",
                json!({ "$ref": "#/components/schemas/ProviderName" }),
            ),
            "user" => (
                "The app's id of the user, percent-encoded where that is needed.",
                json!({ "$ref": "#/components/schemas/UserId" }),
            ),
            _ => (
                "Its number, as the list shows it.",
                json!({ "type": "string", "pattern": "^[0-9]{1,19}$", "examples": ["17"] }),
            ),
        };
        json!({
            "name": name, "in": "path", "required": true, "description": what, "schema": schema,
        })
    });
    told.collect()
}

/// The fields of a schema, as parameters.
fn query_parameters(query: &Schema) -> Vec<Value> {
    let Some(Value::Object(fields)) = query.get("properties") else {
        return Vec::new();
    };
    let is_required = |name: &str| {
        let required = query.get("required").and_then(Value::as_array);
        required.is_some_and(|all| all.iter().any(|one| one == name))
    };
    let told = fields.iter().map(|(name, field)| {
        let mut schema = Schema::try_from(field.clone()).unwrap_or_default();
        let what = schema.remove("description").unwrap_or_default();
        json!({
            "name": name,
            "in": "query",
            "required": is_required(name),
            "description": what,
            "schema": without_null(schema),
        })
    });
    told.collect()
}

/// What is absent from a query is not there; it is never `null`.
fn without_null(mut schema: Schema) -> Schema {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|one| one.get("type").is_none_or(|one| one != "null"));
        if let [only] = any.as_slice() {
            return Schema::try_from(only.clone()).unwrap_or_default();
        }
    }
    schema
}

fn has(query: &Schema, name: &str) -> bool {
    query
        .get("properties")
        .is_some_and(|fields| fields.get(name).is_some())
}
