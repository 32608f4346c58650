//! `GET /v1/audit`: who did what.

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Route};
use crate::{
    admin::{
        Trouble,
        audit::Action,
        extract::Params,
        kinds,
        page::{Limit, MAX_CURSOR, Page, Place, place},
    },
    base::{
        clock::Timestamp,
        ids::{AuditId, ProviderName, UserId},
    },
    store::{Deed, DeedFilter},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/audit", "listAudit", list)
            .does("Lists who did what, the newest first.")
            .with(
                "A record for each call that changes something, for each command that does, for each link \
                 and renewal that the app asks for, and for each consent. They are kept for \
                 `admin.audit_retention`.",
            )
            .asks::<Which>()
            .answers::<Page<AuditView>>(200, "A page of records.")
            .fails(&[kinds::INCONSISTENT_RECORD, kinds::STORE_UNAVAILABLE]),
    ]
}

/// Which records.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only those about this user.
    user: Option<UserId>,
    /// Only those about this provider.
    provider: Option<ProviderName>,
    /// Only those of this action.
    action: Option<Action>,
    /// Only of then or later.
    since: Option<Timestamp>,
    /// Only of before.
    until: Option<Timestamp>,
    /// Where the page begins: the `next_cursor` of the one before.
    #[schemars(length(max = MAX_CURSOR))]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// One thing that was done, or tried.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditRecord", example = serde_json::json!({
    "id": "019ac0f6-2b40-7d5e-8f90-a1b2c3d4e5f6", "at": "2026-11-26T09:05:00Z", "via": "api",
    "who": "admin", "action": "connection.refresh", "provider": "calendly", "user": "u_42",
    "outcome": "refused", "reason": "needs-reauth", "detail": "force",
}))]
pub struct AuditView {
    /// Which record.
    pub id: AuditId,
    /// When it was over.
    pub at: Timestamp,
    /// By which way: `api`, `page`, `cli`, `outbound` (the app), `ingress` (a browser).
    pub via: String,
    /// By whom, as far as that way can tell: `admin`, `local`, `user@host`, `app`, `user`.
    pub who: String,
    /// What; a newer version may have others than those that can be asked for here.
    pub action: String,
    /// At which provider; `null` if that is none in particular.
    pub provider: Option<ProviderName>,
    /// For which user; `null` if that is nobody in particular.
    pub user: Option<UserId>,
    /// What came of it: `done`, `refused` (it could not be done as things stood), `failed`.
    #[schemars(extend("enum" = ["done", "refused", "failed"]))]
    pub outcome: String,
    /// Why not, in the word of the problem; `null` if it was done.
    pub reason: Option<String>,
    /// What else is to be known.
    pub detail: Option<String>,
}

/// The last record of a page.
#[derive(Serialize, Deserialize)]
struct Last(AuditId);

impl Place for Last {
    const LIST: &'static str = "audit";
}

async fn list(
    State(api): State<Api>,
    Params(which): Params<Which>,
) -> Result<Json<Page<AuditView>>, Trouble> {
    let filter = DeedFilter {
        user: which.user,
        provider: which.provider,
        action: which.action.map(|action| action.as_str().to_owned()),
        since: which.since,
        until: which.until,
    };
    let before = place(which.cursor.as_deref())?.map(|Last(id)| id);
    let found = api
        .store
        .deeds(&filter, before, which.limit.and_one())
        .await?;
    let end = |last: &Deed| Last(last.id);
    Ok(Json(Page::of(found, which.limit, end, Into::into)))
}

// === impl AuditView ===

impl From<Deed> for AuditView {
    fn from(deed: Deed) -> Self {
        Self {
            id: deed.id,
            at: deed.at,
            via: deed.via,
            who: deed.who,
            action: deed.action,
            provider: deed.provider,
            user: deed.user,
            outcome: deed.outcome,
            reason: deed.reason,
            detail: deed.detail,
        }
    }
}
