//! What names and times look like as JSON: for descriptions of an API that are made from its types
//! (JSON Schema 2020-12).
//!
//! A type whose JSON is not that of its fields says here what it is; the rest is derived.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    clock::Timestamp,
    ids::{AuditId, EventId, Generation, ProviderName, UserId},
};

macro_rules! named {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// Short enough to stand wherever it is used.
macro_rules! inline {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
            fn inline_schema() -> bool {
                true
            }
        }
    };
}

named!(UserId, "UserId", {
    "description": "The app's own id for a person: visible ASCII characters without spaces.",
    "type": "string",
    "minLength": 1,
    "maxLength": 256,
    "pattern": "^[!-~]+$",
    "examples": ["u_42"],
});
named!(ProviderName, "ProviderName", {
    "description": "The name of a configured provider.",
    "type": "string",
    "minLength": 1,
    "maxLength": 32,
    "pattern": "^[a-z][a-z0-9-]*$",
    "examples": ["calendly"],
});
inline!(Timestamp, "Timestamp", { "type": "string", "format": "date-time" });
inline!(AuditId, "AuditId", { "type": "string", "format": "uuid" });
inline!(EventId, "EventId", { "type": "string", "format": "uuid" });
inline!(Generation, "Generation", { "type": "integer", "minimum": 0 });
