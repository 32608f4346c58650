//! The description of the API, as a judge of what the server says.
//!
//! A schema that leaves a member open is closed here: what is answered and not described is a fault.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::{Draft, Validator};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::world::Answer;

/// The document, and what has been seen of it.
pub(crate) struct Specification {
    pub(crate) document: Value,
    /// The same, strict.
    components: Value,
    seen: Mutex<BTreeSet<(String, String)>>,
}

/// One operation of the document.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) told: Value,
}

// === impl Specification ===

impl Specification {
    pub(crate) fn of(document: Value) -> Self {
        let mut components = document["components"].clone();
        let schemas = components["schemas"].as_object_mut().unwrap();
        for schema in schemas.values_mut() {
            close(schema);
        }
        Self {
            document,
            components,
            seen: Mutex::default(),
        }
    }

    /// Every operation, by its id.
    pub(crate) fn operations(&self) -> BTreeMap<String, Operation> {
        let paths = self.document["paths"].as_object().unwrap();
        let mut all = BTreeMap::new();
        for (path, item) in paths {
            for (method, told) in item.as_object().unwrap() {
                let operation = Operation {
                    method: method.to_ascii_uppercase(),
                    path: path.clone(),
                    told: told.clone(),
                };
                let id = told["operationId"].as_str().unwrap().to_owned();
                assert!(all.insert(id, operation).is_none(), "{told}");
            }
        }
        all
    }

    /// Every status that is named, but what should not be.
    pub(crate) fn statuses(&self) -> BTreeSet<(String, String)> {
        let mut all = BTreeSet::new();
        for (id, operation) in self.operations() {
            for status in operation.told["responses"].as_object().unwrap().keys() {
                if status != "default" {
                    all.insert((id.clone(), status.clone()));
                }
            }
        }
        all
    }

    /// Those that no answer had so far.
    pub(crate) fn unseen(&self) -> Vec<(String, String)> {
        let seen = self.seen.lock();
        self.statuses().difference(&seen).cloned().collect()
    }

    /// Holds `answer` against what is told of `id`.
    pub(crate) fn judge(&self, id: &str, answer: &Answer) {
        let operations = self.operations();
        let status = answer.status.as_u16().to_string();
        let told = &operations[id].told["responses"][&status];
        assert!(
            told.is_object(),
            "{id} is not to answer {status}: {answer:?}"
        );
        let told = self.resolved(told);
        let media = answer.header("content-type").split(';').next().unwrap();
        let content = &told["content"][media];
        assert!(content.is_object(), "{id} {status} is not {media}: {told}");
        let body = match media {
            "text/plain" | "application/openmetrics-text" => json!(answer.body),
            _ => answer.json(),
        };
        self.must_fit(&content["schema"], &body, &format!("{id} {status}"));
        for (name, header) in told["headers"].as_object().into_iter().flatten() {
            let there = !answer.header(name).is_empty();
            assert!(there || header["required"] != true, "{id} {status}: {name}");
        }
        self.seen.lock().insert((id.to_owned(), status));
    }

    /// Asserts that `value` is as `schema` says.
    pub(crate) fn must_fit(&self, schema: &Value, value: &Value, what: &str) {
        let faults: Vec<String> = self
            .validator(schema)
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{what}: {faults:#?}\n{value:#}");
    }

    fn validator(&self, schema: &Value) -> Validator {
        let whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "components": self.components,
        });
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .build(&whole)
            .unwrap_or_else(|error| panic!("{error}: {schema}"))
    }

    /// What a reference leads to.
    fn resolved<'a>(&'a self, told: &'a Value) -> &'a Value {
        match told["$ref"].as_str() {
            Some(at) => self.document.pointer(at.trim_start_matches('#')).unwrap(),
            None => told,
        }
    }

    /// The schema that `schema` refers to, if it does.
    pub(crate) fn schema<'a>(&'a self, schema: &'a Value) -> &'a Value {
        self.resolved(schema)
    }
}

/// Refuses members that are not described.
fn close(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    if fields.contains_key("properties") {
        fields
            .entry("additionalProperties")
            .or_insert(Value::Bool(false));
    }
}
