//! Reading bookings at Cal.com (Cal.com, sync reads).
//!
//! 1. Totals and `hasNextPage` are wrong as soon as a list is filtered by change: a page that is not full
//!    is the last one.
//! 2. Offsets slip while bookings change. So a list is sorted by change, and goes on from the last change
//!    that was read, inclusively: what changes meanwhile moves to the end and comes again, and nothing is
//!    stepped over. Only within one and the same instant an offset is used.
//! 3. A server that does not know these filters, and refuses them or does not heed them, is read by offset,
//!    from the beginning.
//! 4. The list holds bookings that a user merely attends, and for admins those of others: only those that
//!    the user hosts are kept.

use async_trait::async_trait;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Calcom, booking};
use crate::{
    base::{clock::Timestamp, secret::Secret},
    provider::{
        Account, ApiError, Consent, Cursor, Meeting, Meetings, Page, Window, api,
        api::{Question, Reply},
        field,
    },
};

/// The header that names the version of an answer's shape.
const VERSION: &str = "cal-api-version";

/// Bookings of a page; 250 are allowed, but long lists have been slow to come (Cal.com, headers and
/// limits).
const TAKE: usize = 100;

const PATH: [&str; 2] = ["v2", "bookings"];

/// What a [`Cursor`] holds.
/// The default is the beginning, by offset.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Place {
    /// The last change that was read; none where a list cannot be read by change.
    changed: Option<Timestamp>,
    /// How many to step over from there.
    skip: usize,
}

#[async_trait]
impl Meetings for Calcom {
    async fn fetch(&self, token: &Secret<String>, id: &str) -> Result<Meeting, ApiError> {
        let not_found = || ApiError::NotFound {
            provider: self.config.name.clone(),
        };
        let uid = api::segment(id).ok_or_else(not_found)?;
        let path = ["v2", "bookings", uid];
        let question = Question::get(&path).with_header(VERSION, &self.config.api_version);
        let body = self.ask(token, question).await?.body;
        // All occurrences come if the uid is a whole series'.
        let booking = match body.get("data") {
            Some(Value::Array(bookings)) => bookings
                .iter()
                .find(|one| field::text(one, "/uid") == Some(uid)),
            booking => booking,
        };
        let meeting = booking.and_then(booking::shown);
        meeting.ok_or_else(|| self.unreadable())
    }

    async fn page(
        &self,
        token: &Secret<String>,
        account: &Account,
        window: &Window,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ApiError> {
        let user = if let Some(user) = account.key() {
            user
        } else {
            let account = self.identify(token).await?.account;
            account.key().ok_or_else(|| self.unreadable())?
        };
        let kept = cursor.and_then(|cursor| serde_json::from_str::<Place>(&cursor.0).ok());
        let place = kept.unwrap_or_else(|| Place {
            changed: Some(window.changed_since.unwrap_or(Timestamp::EPOCH)),
            skip: 0,
        });
        let read = self.bookings(token, window, place).await;
        let (reply, place) = match read {
            Err(ApiError::Rejected { status, .. })
                if status == StatusCode::BAD_REQUEST && place.changed.is_some() =>
            {
                let place = Place::default();
                (self.bookings(token, window, place).await?, place)
            }
            read => (read?, place),
        };
        let bookings = field::list(&reply.body, "/data");
        let next = place.after(bookings);
        let theirs = |meeting: &Meeting| meeting.hosts.is_empty() || meeting.hosts.contains(&user);
        Ok(Page {
            meetings: bookings
                .iter()
                .filter_map(booking::shown)
                .filter(theirs)
                .collect(),
            next: next.as_ref().map(Place::cursor),
            headroom: reply.headroom,
        })
    }

    fn pages_are_complete(&self) -> bool {
        true
    }
}

// === impl Calcom ===

impl Calcom {
    async fn bookings(
        &self,
        token: &Secret<String>,
        window: &Window,
        place: Place,
    ) -> Result<Reply, ApiError> {
        let (from, to) = (window.from.to_string(), window.to.to_string());
        let (take, skip) = (TAKE.to_string(), place.skip.to_string());
        let changed = place.changed.map(|changed| changed.to_string());
        let mut query = vec![
            ("afterStart", from.as_str()),
            ("beforeEnd", to.as_str()),
            ("take", take.as_str()),
            ("skip", skip.as_str()),
        ];
        match &changed {
            Some(changed) => query.extend([
                ("afterUpdatedAt", changed.as_str()),
                ("sortUpdatedAt", "asc"),
            ]),
            None => query.push(("sortStart", "asc")),
        }
        let question = Question::get(&PATH)
            .with_query(&query)
            .with_header(VERSION, &self.config.api_version);
        self.ask(token, question).await
    }
}

// === impl Place ===

impl Place {
    fn cursor(&self) -> Cursor {
        Cursor(serde_json::to_string(self).unwrap_or_default())
    }

    /// Where to go on after a page of `bookings`; `None` at the end.
    fn after(self, bookings: &[Value]) -> Option<Self> {
        if bookings.len() < TAKE {
            return None;
        }
        let Some(from) = self.changed else {
            return Some(Self {
                skip: self.skip.saturating_add(TAKE),
                ..self
            });
        };
        let times: Option<Vec<_>> = bookings
            .iter()
            .map(|one| field::time(one, "/updatedAt"))
            .collect();
        let Some(times) = times.filter(|times| times.is_sorted()) else {
            return Some(Self::default());
        };
        match (times.first(), times.last()) {
            // Not heeded.
            (Some(first), _) if *first < from => Some(Self::default()),
            (_, Some(last)) if *last > from => Some(Self {
                changed: Some(*last),
                skip: 0,
            }),
            // A whole page of one instant.
            _ => Some(Self {
                skip: self.skip.saturating_add(TAKE),
                ..self
            }),
        }
    }
}
