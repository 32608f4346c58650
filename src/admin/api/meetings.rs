//! `GET /v1/meetings`: a user's meetings, in the order of their beginning.

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Route};
use crate::{
    admin::{
        Trouble,
        extract::{Line, Params},
        kinds,
        page::{Limit, MAX_CURSOR, Page, Place, place},
    },
    base::{
        clock::Timestamp,
        ids::{ProviderName, UserId},
    },
    meeting::Meeting,
    store::{MeetingCursor, MeetingFilter},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/meetings", "listMeetings", list)
            .does("Lists a user's meetings of all providers, in the order of their beginning.")
            .asks::<Which>()
            .answers::<Page<Meeting>>(200, "A page of them.")
            .fails(&[
                kinds::NO_MEETINGS,
                kinds::INCONSISTENT_RECORD,
                kinds::STORE_UNAVAILABLE,
            ]),
    ]
}

/// Which meetings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Whose.
    user: UserId,
    /// Only of this provider.
    provider: Option<ProviderName>,
    /// Only those that end after this.
    from: Option<Timestamp>,
    /// Only those that begin before this.
    until: Option<Timestamp>,
    /// Where the page begins: the `next_cursor` of the one before.
    #[schemars(length(max = MAX_CURSOR))]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// The last meeting of a page.
#[derive(Serialize, Deserialize)]
struct Last(Timestamp, ProviderName, Id);

/// A provider's id for a meeting.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "Line")]
struct Id(String);

impl Place for Last {
    const LIST: &'static str = "meetings";
}

impl From<Line> for Id {
    fn from(line: Line) -> Self {
        Self(line.0)
    }
}

async fn list(
    State(api): State<Api>,
    Params(which): Params<Which>,
) -> Result<Json<Page<Meeting>>, Trouble> {
    let archive = api.archive.as_ref().ok_or(Trouble::MeetingsNotKept)?;
    let filter = MeetingFilter {
        user: which.user,
        provider: which.provider,
        from: which.from,
        until: which.until,
    };
    let after = place(which.cursor.as_deref())?;
    let after = after.map(|Last(starts_at, provider, id)| MeetingCursor {
        starts_at,
        provider,
        external_id: id.0,
    });
    let found = archive
        .list(&filter, after.as_ref(), which.limit.and_one())
        .await?;
    let end = |last: &Meeting| {
        let id = Id(last.external_id.clone());
        Last(last.start, last.provider.clone(), id)
    };
    Ok(Json(Page::of(found, which.limit, end, |one| one)))
}
