//! Somebody with a browser that has no script: follows links by hand, submits forms, keeps the cookie.

use http::{Method, StatusCode};
use parking_lot::Mutex;
use reqwest::redirect::Policy;

use crate::world::{ADMIN_TOKEN, Answer, World};

pub(crate) struct Visitor {
    base: String,
    http: reqwest::Client,
    cookie: Mutex<Option<String>>,
}

// === impl Visitor ===

impl Visitor {
    /// One who has not logged in.
    pub(crate) fn of(world: &World) -> Self {
        let builder = reqwest::Client::builder();
        let http = builder.no_proxy().redirect(Policy::none()).build();
        Self {
            base: format!("http://{}", world.sidecar.admin()),
            http: http.unwrap(),
            cookie: Mutex::default(),
        }
    }

    /// One who has.
    pub(crate) async fn logged_in(world: &World) -> Self {
        let visitor = Self::of(world);
        let answer = visitor.log_in(ADMIN_TOKEN, "").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        visitor
    }

    pub(crate) async fn log_in(&self, token: &str, next: &str) -> Answer {
        let answer = self
            .submit("/login", &[("token", token), ("next", next)])
            .await;
        let cookie = answer.header("set-cookie").split(';').next().unwrap();
        if let Some((_, value)) = cookie.split_once('=') {
            self.keep(Some(value.to_owned()));
        }
        answer
    }

    pub(crate) fn cookie(&self) -> Option<String> {
        self.cookie.lock().clone()
    }

    pub(crate) fn keep(&self, cookie: Option<String>) {
        *self.cookie.lock() = cookie.filter(|value| !value.is_empty());
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match self.cookie() {
            Some(cookie) => {
                let (_, port) = self.base.rsplit_once(':').unwrap();
                request.header("cookie", format!("daypass_session_{port}={cookie}"))
            }
            None => request,
        }
    }

    /// What is at `path`, wherever that leads.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::read(self.request(Method::GET, path)).await
    }

    /// The page at `path`, which is one.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        answer.body
    }

    /// Sends a form as it is.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        Answer::read(self.request(Method::POST, path).form(fields)).await
    }

    /// Sends a form with the token that a page gives it.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.form_token().await;
        let mut all = vec![("form_token", token.as_str())];
        all.extend_from_slice(fields);
        self.submit(path, &all).await
    }

    /// Sends a form, and follows to the page that tells of it.
    pub(crate) async fn done(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.post(path, fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        self.page(answer.header("location")).await
    }

    pub(crate) async fn form_token(&self) -> String {
        let page = self.page("/deliveries").await;
        let (_, rest) = page.split_once("name=\"form_token\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// The addresses that a page leads to, as they are meant.
pub(crate) fn links(page: &str) -> Vec<String> {
    let links = page.split("href=\"").skip(1);
    let links = links.map(|rest| rest.split('"').next().unwrap());
    links
        .map(|link| link.replace("&#38;", "&").replace("&amp;", "&"))
        .collect()
}
