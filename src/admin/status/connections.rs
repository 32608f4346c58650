//! `/connections`: who is connected, and how that stands.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    extract::{Request, State},
};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use url::form_urlencoded;

use super::{
    Room,
    door::Visitor,
    fields::Fields,
    moment::Moment,
    show::{self, Answer, Badge},
    syncs::SyncView,
    templates,
};
use crate::{
    admin::{
        api::{ConnectionView, Selection},
        page::Limit,
    },
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName},
    },
    store::{Filter, ReauthReason},
};

/// How many syncs are asked for at once.
const AT_ONCE: usize = 8;

/// A line of the list.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) provider: String,
    pub(super) user: String,
    pub(super) href: String,
    pub(super) status: Badge,
    /// When the access token ends.
    pub(super) ends: Option<Moment>,
    /// When tokens were last written.
    pub(super) renewed: Option<Moment>,
    /// What the last renewal came to.
    pub(super) outcome: String,
    pub(super) is_bad: bool,
    /// When the next try is, after failures.
    pub(super) retry: Option<Moment>,
    /// Since when it needs its user.
    pub(super) since: Option<Moment>,
    pub(super) sync: Option<SyncView>,
}

/// An entry of a list to choose from.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) word: String,
    pub(super) is_chosen: bool,
}

/// `GET /connections`
pub(super) async fn page(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_query(&request);
    let provider: Option<ProviderName> = fields.parsed("provider")?;
    let needs_reauth = fields.word("status", |word| match word {
        "active" => Some(false),
        "needs_reauth" => Some(true),
        _ => None,
    })?;
    let user = fields.one("user").unwrap_or_default();
    let cursor = fields.one("cursor");
    let (user_prefix, fault) = fields.sought();
    let selection = Selection {
        filter: Filter {
            provider: provider.clone(),
            needs_reauth,
        },
        user_prefix,
    };
    let (rows, next) = if fault.is_some() {
        (Vec::new(), None)
    } else {
        let limit = Limit::default();
        let found = room.api.connections(&selection, cursor, limit).await?;
        (room.with_syncs(&found.items).await, found.next_cursor)
    };
    let status = fields.one("status").unwrap_or_default();
    let same = [
        ("user", user),
        ("provider", fields.one("provider").unwrap_or_default()),
        ("status", status),
    ];
    let page = templates::Connections {
        frame: room
            .frame(visitor, "connections", "Connections")
            .with_notice(super::connection::notice(&fields))
            .live(),
        user: user.to_owned(),
        providers: room.providers(provider.as_ref()),
        statuses: choices(
            &[
                ("", "Any status"),
                ("active", "Active"),
                ("needs_reauth", "Needs its user"),
            ],
            status,
        ),
        rows,
        next: next.map(|cursor| href("/connections", &same, &[("cursor", &cursor)])),
        first: cursor.map(|_| href("/connections", &same, &[])),
        fault,
    };
    Ok(show::page(StatusCode::OK, &page))
}

/// An address with those of `pairs` that have a value.
pub(super) fn href(path: &str, same: &[(&str, &str)], more: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in same.iter().chain(more).filter(|pair| !pair.1.is_empty()) {
        query.append_pair(name, value);
    }
    let query = query.finish();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// Where a connection is shown, or what is done with it.
pub(super) fn place(path: &str, key: &ConnectionKey) -> String {
    let (provider, user) = (key.provider.as_str(), key.user.as_str());
    href(path, &[("provider", provider), ("user", user)], &[])
}

pub(super) fn choices(all: &[(&str, &str)], chosen: &str) -> Vec<Choice> {
    let all = all.iter().map(|(value, word)| Choice {
        value: (*value).to_owned(),
        word: (*word).to_owned(),
        is_chosen: *value == chosen,
    });
    all.collect()
}

/// When the access token ends. One that was never there is stored as one that ended long ago.
pub(super) fn ends(one: &ConnectionView) -> Option<Timestamp> {
    one.expires_at.filter(|at| *at > Timestamp::EPOCH)
}

/// Why a connection needs its user, for people.
pub(super) const fn told(reason: ReauthReason) -> &'static str {
    match reason {
        ReauthReason::GrantRefused => "the provider refused the grant",
        ReauthReason::LostRotation => "the answer to a renewal was lost",
        ReauthReason::NoRefreshToken => "there is no refresh token, and the access token has ended",
        ReauthReason::AccountGone => "the provider no longer knows the account",
    }
}

// === impl Room ===

impl Room {
    /// The configured providers, and the chosen one.
    pub(super) fn providers(&self, chosen: Option<&ProviderName>) -> Vec<Choice> {
        let all = self.api.providers.iter().chain(chosen);
        let names: BTreeSet<&str> = all.map(ProviderName::as_str).collect();
        let chosen = chosen.map_or("", ProviderName::as_str);
        let mut all = vec![("", "Any provider")];
        all.extend(names.into_iter().map(|name| (name, name)));
        choices(&all, chosen)
    }

    async fn with_syncs(&self, found: &[ConnectionView]) -> Vec<Row> {
        let rows: Vec<_> = found.iter().map(|one| self.with_sync(one)).collect();
        stream::iter(rows).buffered(AT_ONCE).collect().await
    }

    async fn with_sync(&self, one: &ConnectionView) -> Row {
        let key = ConnectionKey {
            provider: one.provider.clone(),
            user: one.user.clone(),
        };
        // What cannot be read is said on the page of the connection.
        let sync = match &self.api.archive {
            Some(_) => self.api.sync.progress(&key).await.ok().flatten(),
            None => None,
        };
        Row::of(self, one, sync.map(|sync| SyncView::of(self, &sync)))
    }
}

// === impl Row ===

impl Row {
    pub(super) fn of(room: &Room, one: &ConnectionView, sync: Option<SyncView>) -> Self {
        let key = ConnectionKey {
            provider: one.provider.clone(),
            user: one.user.clone(),
        };
        let (outcome, is_bad) = match (one.reason, one.failures, one.renewed_at) {
            (Some(reason), ..) => (format!("refused: {}", told(reason)), true),
            (None, 1, _) => ("failed once".to_owned(), true),
            (None, 2.., _) => (format!("failed {} times in a row", one.failures), true),
            (None, 0, None) => ("no tokens yet".to_owned(), false),
            (None, 0, Some(_)) => ("fine".to_owned(), false),
        };
        Self {
            href: place("/connection", &key),
            provider: one.provider.to_string(),
            user: one.user.to_string(),
            status: Badge::of_connection(one),
            ends: ends(one).map(|at| room.moment(at)),
            renewed: one.renewed_at.map(|at| room.moment(at)),
            outcome,
            is_bad,
            retry: one.retry_at.map(|at| room.moment(at)),
            since: one.since.map(|at| room.moment(at)),
            sync,
        }
    }
}

// === impl Badge ===

impl Badge {
    pub(super) const fn of_connection(one: &ConnectionView) -> Self {
        match (one.reason, one.failures) {
            (Some(_), _) => Self::new("needs its user", "bad"),
            (None, 0) => Self::new("active", "good"),
            (None, 1..) => Self::new("active, failing", "warn"),
        }
    }
}
