//! The consent page: who are you, and may this app act for you?
//!
//! 1. An unknown client or redirect URI is told on the page and never redirected: the URI cannot be
//!    trusted.
//! 2. Every other fault goes back to the redirect URI, with `state`.
//! 3. With the switch `consent_as` the page approves by itself, so that tests need no browser.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, LOCATION},
};

use super::{
    front::Emulator,
    wire::{html, query},
};

/// The parameters of the authorize request.
pub(crate) type Asked = BTreeMap<String, String>;

/// Why there is nothing to consent to.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Shown on the page.
    Page(&'static str),
    /// Sent back: `error` and `error_description`.
    Back(&'static str, &'static str),
}

/// What a consent page needs of its provider.
pub(crate) trait Consent: Emulator {
    /// What the page calls the service.
    const SERVICE: &'static str;

    /// Judges the request; the scope that would be granted.
    fn examine(&self, asked: &Asked) -> Result<String, Trouble>;

    /// A code for `user`, who is made if need be.
    fn code(&self, asked: &Asked, scope: &str, user: &str) -> Result<String, String>;

    /// Who is there to choose from.
    fn names(&self) -> Vec<String>;
}

pub(crate) fn routes<E: Consent>(path: &str, emulator: Arc<E>) -> Router {
    Router::new()
        .route(path, get(ask::<E>).post(decide::<E>))
        .with_state(emulator)
}

async fn ask<E: Consent>(State(emulator): State<Arc<E>>, RawQuery(raw): RawQuery) -> Response {
    let asked = query(raw.as_deref().unwrap_or_default());
    let scope = match emulator.examine(&asked) {
        Ok(scope) => scope,
        Err(trouble) => return refused(&asked, &trouble),
    };
    let (approves, denies) = emulator
        .stage()
        .switch(|switches| (switches.consent_as.clone(), switches.consent_denied));
    match approves {
        _ if denies => denied(&asked),
        Some(user) => approved(&*emulator, &asked, &scope, &user),
        None => html(StatusCode::OK, page::<E>(&asked, &scope, &emulator.names())),
    }
}

async fn decide<E: Consent>(
    State(emulator): State<Arc<E>>,
    RawQuery(raw): RawQuery,
    body: Bytes,
) -> Response {
    let asked = query(raw.as_deref().unwrap_or_default());
    let answers = query(std::str::from_utf8(&body).unwrap_or_default());
    let scope = match emulator.examine(&asked) {
        Ok(scope) => scope,
        Err(trouble) => return refused(&asked, &trouble),
    };
    let text = |name: &str| answers.get(name).map(String::as_str).unwrap_or_default();
    match (text("decision"), text("user")) {
        ("approve", user) if !user.is_empty() => approved(&*emulator, &asked, &scope, user),
        ("deny", _) => denied(&asked),
        _ => html(StatusCode::BAD_REQUEST, "Say approve or deny, and as whom."),
    }
}

fn denied(asked: &Asked) -> Response {
    let why = "The user denied the request";
    back(
        asked,
        &[("error", "access_denied"), ("error_description", why)],
    )
}

fn approved<E: Consent>(emulator: &E, asked: &Asked, scope: &str, user: &str) -> Response {
    let granted = emulator
        .stage()
        .switch(|switches| switches.consent_scope.clone());
    match emulator.code(asked, granted.as_deref().unwrap_or(scope), user) {
        Ok(code) => back(asked, &[("code", &code)]),
        Err(why) => html(StatusCode::BAD_REQUEST, escaped(&why)),
    }
}

fn refused(asked: &Asked, trouble: &Trouble) -> Response {
    match trouble {
        Trouble::Page(why) => html(StatusCode::BAD_REQUEST, escaped(why)),
        Trouble::Back(error, why) => back(asked, &[("error", error), ("error_description", why)]),
    }
}

/// 302 to the redirect URI, with `state` as it came.
fn back(asked: &Asked, pairs: &[(&str, &str)]) -> Response {
    let given = asked
        .get("redirect_uri")
        .map(String::as_str)
        .unwrap_or_default();
    let Ok(mut url) = url::Url::parse(given) else {
        return html(StatusCode::BAD_REQUEST, "The redirect URI is invalid.");
    };
    url.query_pairs_mut().extend_pairs(pairs);
    if let Some(state) = asked.get("state") {
        url.query_pairs_mut().append_pair("state", state);
    }
    let mut response = StatusCode::FOUND.into_response();
    if let Ok(value) = HeaderValue::from_str(url.as_str()) {
        response.headers_mut().insert(LOCATION, value);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn page<E: Consent>(asked: &Asked, scope: &str, names: &[String]) -> String {
    let client = asked
        .get("client_id")
        .map(String::as_str)
        .unwrap_or_default();
    let mut rows = String::new();
    for (name, value) in asked {
        let (name, value) = (escaped(name), escaped(value));
        // Writing to a String cannot fail.
        let _written = write!(rows, "<tr><th>{name}</th><td>{value}</td></tr>");
    }
    let mut options = String::new();
    for name in names {
        let _written = write!(options, "<option value=\"{}\">", escaped(name));
    }
    let first = names.first().map_or("alice", String::as_str);
    format!(
        "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{service} (sandbox)</title>\
         <style>body{{font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}}\
         th{{text-align:left;padding-right:1rem;vertical-align:top}}td{{word-break:break-all}}\
         button{{font:inherit;padding:.4rem 1.2rem;margin-right:.5rem}}input{{font:inherit}}</style>\
         <h1>{service}, emulated</h1><p><b>{client}</b> would like to act for you: \
         <code>{scope}</code></p><form method=post><p><label>Continue as \
         <input name=user list=users value=\"{first}\" required></label>\
         <datalist id=users>{options}</datalist></p>\
         <button name=decision value=approve>Allow</button>\
         <button name=decision value=deny formnovalidate>Deny</button></form>\
         <h2>What was asked</h2><table>{rows}</table></html>",
        service = E::SERVICE,
        client = escaped(client),
        scope = escaped(scope),
        first = escaped(first),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
