//! How a request is read: the body, the query, whose connection the address names.
//!
//! 1. What is not known here is refused, not left aside: a misspelt filter would select everything.
//! 2. What is told of a bad request is which field it is and what is expected there, never what came.
//! 3. A body must say that it is JSON. No form of a web page can say that, so none can be made to call.

use std::{borrow::Cow, fmt};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use url::form_urlencoded;

use super::Trouble;
use crate::base::{
    clock::Timestamp,
    ids::{ConnectionKey, ProviderName, UserId},
    secret::Secret,
};

/// The body, as JSON.
pub(super) struct Body<T>(pub(super) T);

/// The query.
pub(super) struct Params<T>(pub(super) T);

/// The connection that the address names: `{provider}/{user}`.
pub(super) struct Key(pub(super) ConnectionKey);

/// A token: something that fits into a header.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Token(pub(super) Secret<String>);

/// A line of text: 1 to 1024 characters, none of them a control character.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Line(pub(super) String);

/// A time: RFC 3339, or seconds or milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct When(pub(super) Timestamp);

/// The longest [`Line`], in bytes.
const MAX_LINE: usize = 1024;

/// Seconds from here on would be the year 5138, milliseconds the year 1973: what is greater counts
/// milliseconds.
const FIRST_MILLIS: i64 = 100_000_000_000;

// === impl Body ===

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, state: &S) -> Result<Self, Trouble> {
        if !is_json(request.headers()) {
            return Err(Trouble::NotJson);
        }
        let read = Bytes::from_request(request, state).await;
        let bytes = read.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Trouble::TooLarge,
            _ => Trouble::Body {
                field: None,
                what: "the body broke off".to_owned(),
            },
        })?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let (field, what) = fault(&error);
            Trouble::Body { field, what }
        })?;
        json.end().map_err(|_more| Trouble::Body {
            field: None,
            what: "something follows the JSON".to_owned(),
        })?;
        Ok(Self(value))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    essence.is_some_and(|essence| {
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

// === impl Params ===

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Trouble> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        match serde_path_to_error::deserialize(pairs) {
            Ok(params) => Ok(Self(params)),
            Err(error) => {
                let (name, what) = fault(&error);
                Err(Trouble::Parameter { name, what })
            }
        }
    }
}

// === impl Key ===

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Trouble> {
        let bad = |name: &str, what: String| Trouble::Parameter {
            name: Some(name.to_owned()),
            what,
        };
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Ok(Path((provider, user))) = path else {
            return Err(bad("user", "the address is not UTF-8".to_owned()));
        };
        let provider =
            ProviderName::parse(&provider).map_err(|error| bad("provider", error.to_string()))?;
        let user = UserId::parse(&user).map_err(|error| bad("user", error.to_string()))?;
        Ok(Self(ConnectionKey { provider, user }))
    }
}

// === impl Token, Line, When ===

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let secret = Secret::from(text);
        let text = secret.danger_expose();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(secret))
        } else {
            Err("a token is visible ASCII characters, at least one")
        }
    }
}

impl TryFrom<String> for Line {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=MAX_LINE).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits && !text.trim().is_empty() {
            Ok(Self(text))
        } else {
            Err("1 to 1024 characters, and no control characters")
        }
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = When;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time, or seconds or milliseconds since 1970")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<When, E> {
                Timestamp::parse(text)
                    .map(When)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Other("text"), &self))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<When, E> {
                Ok(When(if number < FIRST_MILLIS {
                    Timestamp::from_secs(number)
                } else {
                    Timestamp::from_millis(number)
                }))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<When, E> {
                match i64::try_from(number) {
                    Ok(number) => self.visit_i64(number),
                    Err(_) => Err(E::invalid_value(
                        serde::de::Unexpected::Other("number"),
                        &self,
                    )),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Token {
    fn schema_name() -> Cow<'static, str> {
        "Token".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A token: visible ASCII characters. No answer ever has one.",
            "type": "string", "minLength": 1, "pattern": "^[!-~]+$", "writeOnly": true,
        })
    }
}

impl JsonSchema for Line {
    fn schema_name() -> Cow<'static, str> {
        "Line".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A line of text: up to 1024 bytes, not only spaces, no control characters.",
            "type": "string", "minLength": 1, "maxLength": MAX_LINE,
        })
    }
}

impl JsonSchema for When {
    fn schema_name() -> Cow<'static, str> {
        "When".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time: RFC 3339, or seconds or milliseconds since 1970.",
            "anyOf": [{ "type": "string", "format": "date-time" }, { "type": "integer" }],
        })
    }
}

/// Which field it is, and what is wrong with it, without what came. Serde quotes that before it says
/// what it expected.
fn fault<E: fmt::Display>(error: &serde_path_to_error::Error<E>) -> (Option<String>, String) {
    let text = error.inner().to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(before, _)| before);
    if let Some((_, known)) = text
        .strip_prefix("unknown field ")
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        let what = format!("there is a name that is not known here: expected {known}");
        return (None, what);
    }
    if let Some(name) = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'))
    {
        return (Some(name.to_owned()), format!("{name} is missing"));
    }
    let name = error.path().to_string();
    let name = (name != ".").then_some(name);
    let what = match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => text.to_owned(),
    };
    (name, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Order {
        user: UserId,
        count: Option<u32>,
        is: Option<Word>,
        at: Option<When>,
        line: Option<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        One,
    }

    const SECRET: &str = "s3cret, expected nothing at line 7";

    fn told(body: &Value) -> (Option<String>, String) {
        let text = body.to_string();
        let mut json = serde_json::Deserializer::from_str(&text);
        let read: Result<Order, _> = serde_path_to_error::deserialize(&mut json);
        fault(&read.unwrap_err())
    }

    #[test]
    fn a_fault_names_the_field_and_what_is_expected_and_never_what_came() {
        for (body, field, what) in [
            (json!({}), Some("user"), "user is missing"),
            (
                json!({"user": SECRET}),
                Some("user"),
                "a user id is 1 to 256",
            ),
            (json!({"user": 7}), Some("user"), "expected a string"),
            (
                json!({"user": "u", "count": SECRET}),
                Some("count"),
                "expected u32",
            ),
            (
                json!({"user": "u", "is": SECRET}),
                Some("is"),
                "expected `one`",
            ),
            (
                json!({"user": "u", "at": SECRET}),
                Some("at"),
                "expected an RFC 3339 time",
            ),
            (
                json!({"user": "u", "line": format!("{SECRET}\n")}),
                Some("line"),
                "1 to 1024 characters",
            ),
            (
                json!({"user": "u", SECRET: 1}),
                None,
                "there is a name that is not known here: expected one of",
            ),
            (json!(SECRET), None, "expected struct Order"),
        ] {
            let (named, told) = told(&body);
            assert_eq!(named.as_deref(), field, "{body}: {told}");
            assert!(told.starts_with(what), "{body}: {told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn no_text_in_any_field_is_repeated(text in "[a-zA-Z0-9 ,`:]{12,40}", field in 0..5_usize) {
            let name = ["user", "count", "is", "at", "other"][field];
            let text = format!("{text}\u{7}");
            let (named, told) = told(&json!({ name: text, "line": "fine" }));
            let (start, _) = text.split_at(12);
            prop_assert!(!told.contains(start), "{named:?} {told}");
        }
    }

    #[test]
    fn times_are_text_or_numbers() {
        let read = |value| serde_json::from_value::<When>(value).map(|When(at)| at.as_secs());
        assert_eq!(read(json!("2023-11-14T22:13:20Z")).unwrap(), 1_700_000_000);
        assert_eq!(read(json!(1_700_000_000)).unwrap(), 1_700_000_000);
        assert_eq!(read(json!(1_700_000_000_000_i64)).unwrap(), 1_700_000_000);
        for bad in [json!("soon"), json!(u64::MAX), json!(true), json!([])] {
            assert!(read(bad).is_err());
        }
    }
}
