//! `POST /v1/connect-links`: a link that lets one user connect.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{Api, Parts, Route};
use crate::{
    admin::{Trouble, extract::Body},
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName, UserId},
    },
    connect::Link,
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::post("/connect-links", create)]
}

/// For whom.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    provider: ProviderName,
    user: UserId,
    /// Where the browser goes afterwards; an allowed origin.
    return_to: Option<String>,
}

/// The link.
#[derive(Serialize)]
struct ConnectLink {
    /// To be opened in the user's browser, and shown to nobody else.
    url: String,
    /// When it stops working.
    expires_at: Timestamp,
}

async fn create(
    State(api): State<Api>,
    Body(order): Body<Order>,
) -> Result<(StatusCode, Json<ConnectLink>), Trouble> {
    let key = ConnectionKey {
        provider: order.provider,
        user: order.user,
    };
    let link = api.link(&key, order.return_to.as_deref()).await?;
    let answer = ConnectLink {
        url: link.url,
        expires_at: link.expires_at,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

// === impl Parts ===

impl Parts {
    /// A link for the user of `key`.
    pub(in crate::admin) async fn link(
        &self,
        key: &ConnectionKey,
        return_to: Option<&str>,
    ) -> Result<Link, Trouble> {
        self.knows(&key.provider)?;
        Ok(self.connect.link(key, return_to).await?)
    }
}
