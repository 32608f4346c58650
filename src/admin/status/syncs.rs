//! `/syncs`: how far the meetings of each connection are read.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    Room,
    connections::{href, place as address},
    door::Visitor,
    fields::Fields,
    moment::Moment,
    show::{self, Answer, Badge},
    templates,
};
use crate::{
    admin::page::{Limit, Page, Place, place},
    base::ids::{ConnectionKey, ProviderName, UserId},
    meeting::{Progress, sync::Stage},
};

/// How far a sync is.
#[derive(Clone, Debug)]
pub(super) struct SyncView {
    pub(super) stage: Badge,
    /// Whether it is being read just now. How many meetings there are is known to nobody.
    pub(super) is_running: bool,
    pub(super) is_done: bool,
    pub(super) pages: u64,
    pub(super) meetings: u64,
    pub(super) began: Option<Moment>,
    pub(super) finished: Option<Moment>,
    pub(super) next: Option<Moment>,
    pub(super) error: Option<String>,
}

/// A line of the list.
#[derive(Clone, Debug)]
pub(super) struct SyncRow {
    pub(super) provider: String,
    pub(super) user: String,
    pub(super) href: String,
    /// `None` if what is stored of it cannot be read.
    pub(super) sync: Option<SyncView>,
}

/// The last sync of a page.
#[derive(Serialize, Deserialize)]
struct Last(ProviderName, UserId);

impl Place for Last {
    const LIST: &'static str = "syncs";
}

/// `GET /syncs`
pub(super) async fn page(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_query(&request);
    let cursor = fields.one("cursor");
    let limit = Limit::default();
    let after = place(cursor)?.map(|Last(provider, user)| ConnectionKey { provider, user });
    let found = room.api.sync.list(after.as_ref(), limit.and_one()).await?;
    let end = |(key, _): &(ConnectionKey, _)| Last(key.provider.clone(), key.user.clone());
    let found: Page<SyncRow> = Page::of(found, limit, end, |(key, progress)| SyncRow {
        href: address("/connection", &key),
        sync: progress.map(|progress| SyncView::of(&room, &progress)),
        provider: key.provider.to_string(),
        user: key.user.to_string(),
    });
    let next = found.next_cursor;
    let page = templates::Syncs {
        frame: room.frame(visitor, "syncs", "Syncs").live(),
        rows: found.items,
        next: next.map(|cursor| href("/syncs", &[("cursor", &cursor)], &[])),
        first: cursor.map(|_| href("/syncs", &[], &[])),
        are_kept: room.api.archive.is_some(),
    };
    Ok(show::page(StatusCode::OK, &page))
}

// === impl SyncView ===

impl SyncView {
    pub(super) fn of(room: &Room, progress: &Progress) -> Self {
        let moment = |at| room.moment(at);
        let stage = match progress.stage {
            Stage::Waiting => Badge::new("waiting", "calm"),
            Stage::Running => Badge::new("reading", "calm"),
            Stage::Done => Badge::new("complete", "good"),
            Stage::Failed => Badge::new("failed", "bad"),
        };
        Self {
            stage,
            is_running: progress.stage == Stage::Running,
            is_done: progress.stage == Stage::Done,
            pages: progress.pages,
            meetings: progress.meetings,
            began: progress.began_at.map(moment),
            finished: progress.finished_at.map(moment),
            next: progress.next_at.map(moment),
            error: progress.last_error.clone(),
        }
    }
}
