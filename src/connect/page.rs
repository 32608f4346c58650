//! The few pages that a person sees: a heading, a paragraph or two, perhaps one link.
//!
//! 1. No script, no image, no request of its own: the content security policy allows one style sheet,
//!    by its digest, and nothing else.
//! 2. Every text is escaped here, wherever it came from.
//! 3. No cache keeps a page, no other page frames it, and where it leads does not learn where it was.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

/// Follows the system's choice between light and dark; readable without it, too.
const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b1f24;--back:#f4f5f7;--card:#fff;--line:#d5d9de;\
--link:#0b57d0}\
@media(prefers-color-scheme:dark){:root{--text:#e8eaed;--back:#131518;--card:#1d2024;\
--line:#363b41;--link:#8ab4f8}}\
body{margin:0;background:var(--back);color:var(--text);font:1rem/1.6 system-ui,sans-serif}\
main{box-sizing:border-box;max-width:34rem;margin:12vh auto 0;padding:2rem;background:var(--card);\
border:1px solid var(--line);border-radius:.75rem}\
h1{margin:0 0 .5rem;font-size:1.4rem;line-height:1.3}\
p{margin:.75rem 0 0}\
a{color:var(--link)}";

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    let text = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&text)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
});

/// What a person reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The heading, and the title of the window.
    pub(super) title: String,
    /// What happened, and what to do.
    pub(super) text: String,
    /// An address of ours, and what to call it.
    pub(super) link: Option<(String, &'static str)>,
}

// === impl Page ===

impl Page {
    /// As an answer.
    pub(super) fn into_response(self, status: StatusCode) -> Response {
        let mut response = (status, Body::from(self.html())).into_response();
        let headers = response.headers_mut();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, html);
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
        response
    }

    fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n",
            text = escaped(&self.text),
        );
        // Writing to a String does not fail.
        if let Some((address, label)) = &self.link {
            let (address, label) = (escaped(address), escaped(label));
            let _done = writeln!(html, "<p><a href=\"{address}\">{label}</a></p>");
        }
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }
}

/// As text of an element, or of an attribute in double quotes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn page() -> Page {
        Page {
            title: "A <b> & \"c\"".to_owned(),
            text: "</p><script>alert('x')</script>".to_owned(),
            link: Some(("https://d.example.org/\"onclick=\"".to_owned(), "Try again")),
        }
    }

    #[test]
    fn no_text_becomes_markup() {
        let html = page().html();
        for bad in ["<b>", "<script", "</p><", "\"onclick"] {
            assert!(!html.contains(bad), "{html}");
        }
        assert_eq!(html.matches("A &lt;b&gt; &amp; &quot;c&quot;").count(), 2);
    }

    #[tokio::test]
    async fn the_policy_allows_the_style_sheet_of_the_page_and_nothing_else() {
        let response = page().into_response(StatusCode::BAD_REQUEST);
        assert_eq!(response.status(), 400);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].clone();
        let policy = policy.to_str().unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let html = String::from_utf8(bytes.to_vec()).unwrap();
        let style = html.split("<style>").nth(1).unwrap();
        let style = style.split("</style>").next().unwrap();
        let digest = STANDARD.encode(Sha256::digest(style));
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action \
                 'none'; frame-ancestors 'none'"
            )
        );
        assert!(!html.contains(" style="), "an attribute would be refused");
    }
}
