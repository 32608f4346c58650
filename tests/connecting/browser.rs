//! A browser, as far as it matters: it keeps cookies, follows redirects, and fills in a form.

use std::{collections::BTreeMap, sync::LazyLock};

use daypass::http::tls::install_crypto;
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use url::Url;

/// Keeps cookies by host, with their paths; one person's.
#[derive(Default)]
pub(crate) struct Browser {
    cookies: Mutex<BTreeMap<(String, String), (String, String)>>,
    /// What it says it wants.
    accept: Option<&'static str>,
}

/// A whole answer, and where it came from.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) url: Url,
}

/// Building one reads the machine's certificates, so there is one for all; no connection outlives the
/// runtime of its test.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    install_crypto();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
});

/// A client that follows nothing and keeps nothing.
pub(crate) fn client() -> reqwest::Client {
    CLIENT.clone()
}

impl Browser {
    /// One that was never anywhere.
    pub(crate) fn new() -> Self {
        Self {
            accept: Some("text/html,application/xhtml+xml,*/*;q=0.8"),
            ..Self::default()
        }
    }

    /// A program that keeps cookies.
    pub(crate) fn program() -> Self {
        Self::default()
    }

    /// One request; cookies of the answer are kept.
    pub(crate) async fn get(&self, url: &str) -> Seen {
        self.send(client().get(url)).await
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Seen {
        let mut request = request.build().unwrap();
        let url = request.url().clone();
        if let Some(accept) = self.accept {
            request
                .headers_mut()
                .insert(header::ACCEPT, accept.parse().unwrap());
        }
        if let Some(cookies) = self.cookies_for(&url) {
            request
                .headers_mut()
                .insert(header::COOKIE, cookies.parse().unwrap());
        }
        let response = client().execute(request).await.unwrap();
        let seen = Seen {
            status: response.status(),
            headers: response.headers().clone(),
            url,
            body: response.text().await.unwrap(),
        };
        self.keep_cookies(&seen);
        seen
    }

    /// Says on the consent page at `url` that it is `user`, and what it thinks; the way back.
    pub(crate) async fn decide(&self, url: &str, user: &str, decision: &str) -> String {
        let page = self.get(url).await;
        assert_eq!(page.status, 200, "{page:?}");
        let form = [("user", user), ("decision", decision)];
        let decided = self.send(client().post(url).form(&form)).await;
        decided.location(302)
    }

    /// Opens `link`, allows everything as `user`, and comes back: the answer of the callback.
    pub(crate) async fn allow(&self, link: &str, user: &str) -> Seen {
        let consent = self.get(link).await.location(302);
        let back = self.decide(&consent, user, "approve").await;
        self.get(&back).await
    }

    pub(crate) fn forget_cookies(&self) {
        self.cookies.lock().clear();
    }

    /// What it would send to `url`.
    pub(crate) fn cookies_for(&self, url: &Url) -> Option<String> {
        let cookies = self.cookies.lock();
        let host = url.host_str().unwrap();
        let ours = cookies
            .iter()
            .filter(|((of, _), (_, path))| of == host && url.path().starts_with(path.as_str()));
        let pairs: Vec<_> = ours
            .map(|((_, name), (value, _))| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn keep_cookies(&self, seen: &Seen) {
        let mut cookies = self.cookies.lock();
        for line in seen.headers.get_all(header::SET_COOKIE) {
            let mut parts = line.to_str().unwrap().split("; ");
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let path = parts.find_map(|part| part.strip_prefix("Path="));
            let host = seen.url.host_str().unwrap().to_owned();
            cookies.insert(
                (host, name.to_owned()),
                (value.to_owned(), path.unwrap_or("/").to_owned()),
            );
        }
    }
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Where it redirects to, with `status`.
    pub(crate) fn location(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        self.header("location").to_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The query of the address that it sends the browser back to, without the address.
    pub(crate) fn result(&self) -> String {
        let url = Url::parse(&self.location(303)).unwrap();
        let pairs = url.query_pairs();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("&")
    }

    /// Asserts a page for a person, with everything that each of them must have; its heading.
    pub(crate) fn page(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("referrer-policy"), "no-referrer");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        let policy = self.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert!(!self.body.contains("<script"), "{self:?}");
        let (_, rest) = self.body.split_once("<h1>").unwrap();
        rest.split("</h1>").next().unwrap().to_owned()
    }

    /// Asserts a problem; its slug.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert!(
            self.header("proxy-status").starts_with("daypass; error="),
            "{self:?}"
        );
        let json = self.json();
        let kind = json["type"].as_str().unwrap();
        kind.strip_prefix("urn:daypass:problem:")
            .unwrap()
            .to_owned()
    }
}
