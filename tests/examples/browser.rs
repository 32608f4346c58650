//! A browser, as far as a consent needs one: it keeps cookies, follows redirects, and submits the one
//! form of a page. Like the real ones it does not tell ports apart when it sends cookies.

use std::{collections::BTreeMap, time::Duration};

use daypass::http::tls::install_crypto;
use http::{Method, StatusCode, header};
use reqwest::redirect::Policy;
use url::Url;

/// Longer than any answer takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// More redirects than any way here has.
const REDIRECTS: usize = 10;

pub(crate) struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

/// A page as it is shown.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) body: String,
}

/// A client that follows nothing and shares nothing.
pub(crate) fn client() -> reqwest::Client {
    install_crypto();
    let builder = reqwest::Client::builder();
    builder
        .no_proxy()
        .redirect(Policy::none())
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

// === impl Browser ===

impl Browser {
    /// One whose user is signed in to the example as `user`.
    pub(crate) fn of(user: &str) -> Self {
        Self {
            http: client(),
            cookies: BTreeMap::from([("user".to_owned(), user.to_owned())]),
        }
    }

    pub(crate) async fn open(&mut self, url: &str) -> Page {
        self.go(Method::GET, url.parse().unwrap(), None).await
    }

    /// Submits the form of `page`, with `fields` filled in.
    pub(crate) async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let (_, form) = page.body.split_once("<form ").unwrap();
        let (form, _) = form.split_once('>').unwrap();
        let form = form.replace(['"', '\''], "");
        assert!(form.contains("method=post"), "{form}");
        let action = form
            .split(' ')
            .find_map(|part| part.strip_prefix("action="))
            .unwrap_or(page.url.as_str());
        let url = page.url.join(action).unwrap();
        self.go(Method::POST, url, Some(fields)).await
    }

    async fn go(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut form: Option<&[(&str, &str)]>,
    ) -> Page {
        for _ in 0..REDIRECTS {
            let pairs = self.cookies.iter();
            let cookies: Vec<_> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let mut request = self
                .http
                .request(method.clone(), url.clone())
                .header(header::COOKIE, cookies.join("; "))
                .header(header::ACCEPT, "text/html,*/*;q=0.8");
            if let Some(fields) = form {
                request = request.form(fields);
            }
            let answer = request.send().await.unwrap();
            self.keep_cookies(&answer);
            let status = answer.status();
            let Some(to) = answer.headers().get(header::LOCATION) else {
                let body = answer.text().await.unwrap();
                return Page { url, status, body };
            };
            assert!(
                [StatusCode::FOUND, StatusCode::SEE_OTHER].contains(&status),
                "{status} of {url} would submit the form again"
            );
            url = url.join(to.to_str().unwrap()).unwrap();
            (method, form) = (Method::GET, None);
        }
        panic!("too many redirects, the last to {url}")
    }

    fn keep_cookies(&mut self, answer: &reqwest::Response) {
        for line in answer.headers().get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}
