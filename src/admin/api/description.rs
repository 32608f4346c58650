//! `GET /v1/openapi.json`: the description of the API.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Route;
use crate::admin::openapi;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/openapi.json", "describe", describe)
            .does("Describes the API: this document.")
            .answers::<Document>(200, "A document of OpenAPI 3.1."),
    ]
}

/// A document of OpenAPI.
struct Document;

async fn describe() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::text()).into_response()
}

impl JsonSchema for Document {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Document".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "required": ["openapi", "info", "paths"],
            "additionalProperties": true,
        })
    }
}
