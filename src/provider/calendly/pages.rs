//! Lists at Calendly come in pages that lead on by an opaque token (Calendly, reads).
//!
//! A token does not last: one that is kept too long is refused with 400. `next_page` is an absolute
//! address, of which only the token is taken.

use serde_json::Value;
use url::Url;

use super::Calendly;
use crate::{
    base::secret::Secret,
    provider::{
        ApiError,
        api::{Question, Reply},
        field,
    },
};

/// The largest page (Calendly, reads).
const COUNT: &str = "100";

// === impl Calendly ===

impl Calendly {
    /// Reads the page of a list that `page_token` leads to, or the first.
    pub(super) async fn page_of(
        &self,
        token: &Secret<String>,
        path: &[&str],
        query: &[(&str, &str)],
        page_token: Option<&str>,
    ) -> Result<Reply, ApiError> {
        let page = page_token.map(|page| ("page_token", page));
        let paging = [Some(("count", COUNT)), page].into_iter().flatten();
        let query: Vec<_> = query.iter().copied().chain(paging).collect();
        self.ask(token, Question::get(path).with_query(&query))
            .await
    }
}

/// What leads to the next page; `None` at the end.
pub(super) fn next_token(body: &Value) -> Option<String> {
    if let Some(token) = field::text(body, "/pagination/next_page_token") {
        return Some(token.to_owned());
    }
    // Older answers have the address only.
    let url = Url::parse(field::text(body, "/pagination/next_page")?).ok()?;
    url.query_pairs()
        .find(|(name, _)| name == "page_token")
        .map(|(_, token)| token.into_owned())
}
