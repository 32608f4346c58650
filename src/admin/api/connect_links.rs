//! `POST /v1/connect-links`: a link that lets one user connect.

use axum::{Extension, Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Parts, Route};
use crate::{
    admin::{
        Trouble,
        audit::{Action, Actor, Order as Audited},
        extract::Body,
        kinds,
    },
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName, UserId},
    },
    connect::Link,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/connect-links", "createConnectLink", create)
            .does("Makes a link that lets one user connect.")
            .with(
                "Whoever opens the link connects *their* account for this user: show it to nobody else.",
            )
            .takes::<Order>()
            .answers::<ConnectLink>(201, "The link.")
            .fails(&[
                kinds::INVALID_RETURN_TO,
                kinds::UNKNOWN_PROVIDER,
                kinds::CONNECT_NOT_CONFIGURED,
                kinds::PROVIDER_MISCONFIGURED,
                kinds::STORE_UNAVAILABLE,
            ]),
    ]
}

/// For whom.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConnectLinkOrder", example = serde_json::json!({
    "provider": "calendly", "user": "u_42", "return_to": "https://app.example.org/settings",
}))]
struct Order {
    /// Where they connect.
    provider: ProviderName,
    /// Who connects.
    user: UserId,
    /// Where the browser goes afterwards: an address of one of `ingress.allowed_return_origins`.
    return_to: Option<String>,
}

/// The link.
#[derive(Serialize, JsonSchema)]
#[schemars(example = serde_json::json!({
    "url": "https://daypass.example.org/connect/Zm9vYmFyYmF6",
    "expires_at": "2026-11-26T10:30:00Z",
}))]
struct ConnectLink {
    /// To be opened in the user's browser, and shown to nobody else.
    url: String,
    /// When it stops working.
    expires_at: Timestamp,
}

async fn create(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Body(order): Body<Order>,
) -> Result<(StatusCode, Json<ConnectLink>), Trouble> {
    let key = ConnectionKey {
        provider: order.provider,
        user: order.user,
    };
    let link = api.link(actor, &key, order.return_to).await?;
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
        actor: Actor,
        key: &ConnectionKey,
        return_to: Option<String>,
    ) -> Result<Link, Trouble> {
        self.knows(&key.provider)?;
        let audited = Audited::to(Action::ConnectLink).about(key);
        let (connect, key) = (self.connect.clone(), key.clone());
        let making = async move { Ok(connect.link(&key, return_to.as_deref()).await?) };
        self.audited(actor, audited, making, |_| None).await
    }
}
