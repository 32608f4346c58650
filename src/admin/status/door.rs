//! Who may see the page, what every answer of it says, and logging in and out.
//!
//! 1. Where an admin token is configured, a page is for those with a [session]. The
//!    others are sent to the login, and learn nothing.
//! 2. Without one, the page is as open as the API: on a loopback address or a unix socket, and only
//!    by a name of this machine, so that no name that was made to lead here (DNS rebinding) does.
//! 3. What changes something is a POST, comes from a page of this listener as far as the browser tells
//!    (`Sec-Fetch-Site`, `Origin`), and carries the token of a form that this session was shown. The
//!    cookie does not go with what other sites send (`SameSite=Strict`).
//! 4. The content security policy allows one script and one style sheet, both from here, and nothing
//!    that is written into a page. No page may be framed, kept by a cache, or named to others.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, LOCATION, ORIGIN, REFERRER_POLICY,
        RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use url::form_urlencoded;

use super::{
    Room,
    fields::Fields,
    session::{self, Refused, Session},
    show, templates,
};
use crate::{
    admin::{
        Trouble,
        audit::{Actor, Via},
        gate,
    },
    http::Listen,
};

/// What every answer of the page says.
const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who sees a page; an extension of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor {
    /// `None` if none is needed.
    pub(super) session: Option<Session>,
}

/// Passes on those who may see what they ask for.
pub(super) async fn pass(
    State(room): State<Arc<Room>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match room.judge(&request) {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(Turned::Login) => to_login(&request),
        Err(Turned::Away(trouble)) => show::trouble(&trouble),
    };
    guard(&mut response);
    response
}

/// Says on what anybody may see what every page says.
pub(super) async fn open(State(room): State<Arc<Room>>, request: Request, next: Next) -> Response {
    let mut response = match room.is_fit(&request) {
        Ok(()) => next.run(request).await,
        Err(trouble) => show::trouble(&trouble),
    };
    guard(&mut response);
    response
}

/// Why somebody does not get what they ask for.
enum Turned {
    Login,
    Away(Trouble),
}

fn guard(response: &mut Response) {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
}

/// To the login, and from there to where they wanted to.
fn to_login(request: &Request) -> Response {
    if request.method() != Method::GET {
        return see_other("/login");
    }
    let here = request.uri().path_and_query().map_or("/", |at| at.as_str());
    if here == "/" {
        return see_other("/login");
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", here)
        .finish();
    see_other(&format!("/login?{query}"))
}

pub(super) fn see_other(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

// === impl Visitor ===

impl Visitor {
    /// What audits call them.
    pub(super) fn actor(self) -> Actor {
        let who = self
            .session
            .map_or_else(|| "local".to_owned(), Session::name);
        Actor::new(Via::Page, &who)
    }
}

// === impl Room ===

impl Room {
    fn judge(&self, request: &Request) -> Result<Visitor, Turned> {
        self.is_fit(request).map_err(Turned::Away)?;
        if !self.sessions.are_needed() {
            return Ok(Visitor { session: None });
        }
        let session = session_of(self, request).ok_or(Turned::Login)?;
        Ok(Visitor {
            session: Some(session),
        })
    }

    /// Whether the request comes from where it may come from, whoever makes it.
    fn is_fit(&self, request: &Request) -> Result<(), Trouble> {
        let host = gate::host(request);
        if !self.sessions.are_needed() {
            if !self.listen.is_local() {
                return Err(Trouble::NoAdminToken);
            }
            let is_tcp = matches!(self.listen, Listen::Tcp(_));
            if is_tcp && !host.as_ref().is_some_and(gate::is_here) {
                return Err(Trouble::ForeignPage);
            }
        }
        let is_safe = [Method::GET, Method::HEAD].contains(request.method());
        let host = host.as_ref().map(http::uri::Authority::as_str);
        if is_safe || is_from_here(request.headers(), host) {
            Ok(())
        } else {
            Err(Trouble::ForeignPage)
        }
    }
}

/// Whether, as far as the browser tells, a page of this listener sends it.
fn is_from_here(headers: &HeaderMap, host: Option<&str>) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if !sites.all(|site| site == "same-origin") {
        return false;
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.all(|origin| {
        // Our own pages name no referrer, and so their forms no origin (Fetch §3.1). Then the token of
        // the form decides.
        origin == "null"
            || origin.to_str().is_ok_and(|origin| {
                let named = origin.split_once("://").map(|(_, authority)| authority);
                named.is_some() && named == host
            })
    })
}

/// The name of the cookie. Browsers do not tell ports apart, and several sidecars may be reached by ports
/// of one name.
fn cookie_name(request: &Request) -> String {
    let port = gate::host(request).and_then(|host| host.port_u16());
    port.map_or_else(
        || session::COOKIE.to_owned(),
        |port| format!("{}_{port}", session::COOKIE),
    )
}

fn session_of(room: &Room, request: &Request) -> Option<Session> {
    let (expected, lines) = (cookie_name(request), request.headers().get_all(COOKIE));
    let lines = lines.iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut named = pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == expected).then_some(value)
    });
    named.find_map(|cookie| room.sessions.of(cookie))
}

/// `GET /login`
pub(super) async fn login_page(State(room): State<Arc<Room>>, request: Request) -> Response {
    let next = Fields::of_query(&request).one("next").map(str::to_owned);
    if !room.sessions.are_needed() || session_of(&room, &request).is_some() {
        return see_other(local(next.as_deref()));
    }
    let next = local(next.as_deref()).to_owned();
    show::page(StatusCode::OK, &templates::Login { next, fault: None })
}

/// `POST /login`
pub(super) async fn login(State(room): State<Arc<Room>>, request: Request) -> Response {
    let is_secure = request
        .headers()
        .get(FORWARDED_PROTO)
        .is_some_and(|proto| proto == "https");
    let name = cookie_name(&request);
    let fields = match Fields::of_body(request).await {
        Ok(fields) => fields,
        Err(trouble) => return show::trouble(&trouble),
    };
    let next = local(fields.one("next")).to_owned();
    match room.sessions.begin(fields.one("token").unwrap_or_default()) {
        Ok(cookie) => {
            let session = room.sessions.of(&cookie).map(Session::name);
            tracing::info!(session, "somebody logged in to the status page");
            let mut response = see_other(&next);
            set_cookie(&mut response, &name, &cookie, is_secure);
            response
        }
        Err(Refused::Wrong) => {
            tracing::warn!("a login to the status page was refused: it was not the admin token");
            let fault = Some(Cow::Borrowed("This is not the admin token."));
            show::page(StatusCode::FORBIDDEN, &templates::Login { next, fault })
        }
        Err(Refused::TooMany(wait)) => {
            let secs = wait.as_secs().max(1);
            let fault = format!(
                "Too many wrong tokens. Nothing was compared; try again in {secs} seconds."
            );
            let fault = Some(Cow::Owned(fault));
            let mut response = show::page(
                StatusCode::TOO_MANY_REQUESTS,
                &templates::Login { next, fault },
            );
            response.headers_mut().insert(RETRY_AFTER, secs.into());
            response
        }
    }
}

/// `POST /logout`
pub(super) async fn logout(State(room): State<Arc<Room>>, request: Request) -> Response {
    let visitor = request.extensions().get::<Visitor>().copied();
    let session = visitor.and_then(|visitor| visitor.session);
    let name = cookie_name(&request);
    match Fields::of_form(&room, request).await {
        Ok(_) => {
            if let Some(session) = session {
                room.sessions.end(session);
            }
            let mut response = see_other("/login");
            set_cookie(&mut response, &name, "", false);
            response
        }
        Err(trouble) => show::trouble(&trouble),
    }
}

/// Sets the cookie, or forgets it if `value` is empty.
fn set_cookie(response: &mut Response, name: &str, value: &str, is_secure: bool) {
    let secure = if is_secure { "; Secure" } else { "" };
    let secs = match value {
        "" => 0,
        _ => session::LIFETIME.as_secs(),
    };
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// A place on this listener, and never another site.
fn local(next: Option<&str>) -> &str {
    let is_fine = |next: &&str| {
        next.starts_with('/')
            && !next.starts_with("//")
            && next
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    next.filter(is_fine).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        });
        pairs.collect()
    }

    #[test]
    fn what_a_browser_says_is_from_elsewhere_is() {
        let host = Some("127.0.0.1:7422");
        for (sent, is_fine) in [
            (vec![], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (
                vec![("sec-fetch-site", "same-origin"), ("origin", "null")],
                true,
            ),
            (vec![("origin", "http://127.0.0.1:7422")], true),
            (vec![("origin", "https://127.0.0.1:7422")], true),
            (vec![("origin", "null")], true),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![("origin", "http://127.0.0.1:7423")], false),
            (vec![("origin", "http://evil.example")], false),
            (vec![("origin", "")], false),
            (
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "http://127.0.0.1:7422"),
                ],
                false,
            ),
        ] {
            assert_eq!(is_from_here(&headers(&sent), host), is_fine, "{sent:?}");
        }
        assert!(!is_from_here(&headers(&[("origin", "http://")]), None));
    }

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (next, to) in [
            (Some("/connections?user=a"), "/connections?user=a"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/a\nb"), "/"),
            (Some(""), "/"),
            (None, "/"),
        ] {
            assert_eq!(local(next), to, "{next:?}");
        }
    }
}
