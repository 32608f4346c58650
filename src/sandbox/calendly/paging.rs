//! Pages (§3): absolute links, opaque tokens that go stale.

use std::{collections::BTreeMap, time::Duration};

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Calendly,
    answer::{Refusal, invalid},
};
use crate::sandbox::{jwt, wire};

/// How long a page token is good.
const TOKEN_LIFE: Duration = Duration::from_hours(1);

pub(crate) type Asked = BTreeMap<String, String>;

// === impl Calendly ===

impl Calendly {
    /// One page of `items`, which must already be filtered and sorted.
    pub(crate) fn page(
        &self,
        path: &str,
        asked: &Asked,
        items: Vec<Value>,
    ) -> Result<Response, Refusal> {
        let count = match asked.get("count").map(|text| text.parse::<usize>()) {
            None => 20,
            Some(Ok(count)) if (1..=100).contains(&count) => count,
            Some(_) => return Err(invalid("count", "must be between 1 and 100")),
        };
        let from = match asked.get("page_token") {
            Some(token) => self
                .opened(path, token)
                .ok_or_else(|| invalid("page_token", "is invalid"))?,
            None => 0,
        };
        let total = items.len();
        let page: Vec<_> = items.into_iter().skip(from).take(count).collect();
        let next = (from + count < total).then(|| self.sealed(path, from + count));
        let previous = (from > 0).then(|| self.sealed(path, from.saturating_sub(count)));
        let link =
            |token: &Option<String>| token.as_ref().map(|token| self.link(path, asked, token));
        let body = json!({
            "collection": page,
            "pagination": {
                "count": page.len(),
                "next_page": link(&next),
                "previous_page": link(&previous),
                "next_page_token": next,
                "previous_page_token": previous,
            },
        });
        Ok(wire::json(StatusCode::OK, &body))
    }

    fn link(&self, path: &str, asked: &Asked, token: &str) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in asked.iter().filter(|(name, _)| *name != "page_token") {
            pairs.append_pair(name, value);
        }
        pairs.append_pair("page_token", token);
        format!("{}{path}?{}", self.stage.base_url, pairs.finish())
    }

    fn sealed(&self, path: &str, from: usize) -> String {
        let until = self.stage.now().saturating_add(TOKEN_LIFE);
        let claims = json!({"from": from, "path": path, "until": until.as_secs()});
        jwt::sign(&claims, &self.key)
    }

    fn opened(&self, path: &str, token: &str) -> Option<usize> {
        let claims = jwt::verify(token, &self.key)?;
        let fresh = claims.get("until")?.as_i64()? > self.stage.now().as_secs()
            && claims.get("path")?.as_str()? == path;
        let from = usize::try_from(claims.get("from")?.as_u64()?).ok()?;
        fresh.then_some(from)
    }
}
