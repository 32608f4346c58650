//! `/connection`: one connection, what happened to it, and what can be done with it.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;

use super::{
    Room,
    connections::{ends, href, place, told},
    deliveries::Line,
    door::{Visitor, see_other},
    fields::Fields,
    moment::{Moment, amount},
    show::{self, Answer, Badge, Notice},
    syncs::SyncView,
    templates,
};
use crate::{
    admin::{
        Trouble,
        api::WholeView,
        history::{Happening, Note},
        page::Limit,
    },
    base::ids::ConnectionKey,
    store::{DeliveryFilter, Redemption},
    token::{RenewalOutcome, Revocation},
    webhook::subscription::ViewStatus,
};

/// How much of its history is shown.
const HISTORY: usize = 20;

/// A connection with all that is shown of it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says of one thing whether it is offered"
)]
pub(super) struct Detail {
    pub(super) provider: String,
    pub(super) user: String,
    pub(super) status: Badge,
    /// Why it needs its user.
    pub(super) reason: Option<&'static str>,
    pub(super) since: Option<Moment>,
    pub(super) is_managed: bool,
    pub(super) renewable: bool,
    pub(super) generation: String,
    pub(super) ends: Option<Moment>,
    pub(super) renewed: Option<Moment>,
    pub(super) refresh_ends: Option<Moment>,
    pub(super) failures: u32,
    pub(super) retry: Option<Moment>,
    /// What is known of the account, by name.
    pub(super) account: Vec<(&'static str, String)>,
    pub(super) scope: Vec<String>,
    pub(super) created: Moment,
    pub(super) updated: Moment,
    pub(super) subscription: Option<SubscriptionView>,
    pub(super) sync: Option<SyncView>,
    /// Whether a sync can be asked for.
    pub(super) syncs: bool,
    /// Whether links can be made.
    pub(super) links: bool,
    pub(super) history: Vec<Event>,
    pub(super) deliveries: Vec<Line>,
    pub(super) all_deliveries: String,
    pub(super) disconnect: String,
}

/// The webhook subscription.
pub(super) struct SubscriptionView {
    pub(super) status: Badge,
    pub(super) reason: Option<String>,
    pub(super) since: Option<Moment>,
    pub(super) next: Option<Moment>,
}

/// Something that happened to a connection.
pub(super) struct Event {
    pub(super) at: Moment,
    pub(super) user: String,
    pub(super) provider: String,
    pub(super) href: String,
    pub(super) what: Badge,
    pub(super) detail: String,
}

/// `GET /connection`
pub(super) async fn page(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_query(&request);
    room.show(visitor, &fields.key()?, StatusCode::OK, notice(&fields))
        .await
}

/// `POST /connection/renew`
pub(super) async fn renew(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_form(&room, request).await?;
    let (key, is_forced) = (fields.key()?, fields.one("force").is_some());
    let done = room.api.renew(visitor.actor(), &key, is_forced).await;
    room.done(visitor, &key, "renewed", "The renewal failed", done)
        .await
}

/// `POST /connection/sync`
pub(super) async fn sync(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let key = Fields::of_form(&room, request).await?.key()?;
    let done = room.api.ask_for_sync(visitor.actor(), &key).await;
    room.done(visitor, &key, "sync", "The sync was not asked for", done)
        .await
}

/// `POST /connection/link`
pub(super) async fn link(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let key = Fields::of_form(&room, request).await?.key()?;
    let link = match room.api.link(visitor.actor(), &key, None).await {
        Ok(link) => link,
        Err(trouble) => {
            return room
                .failed(visitor, &key, "There is no link", &trouble)
                .await;
        }
    };
    let page = templates::ConnectLink {
        frame: room.frame(visitor, "connections", "Connect link"),
        back: place("/connection", &key),
        provider: key.provider.to_string(),
        user: key.user.to_string(),
        url: link.url,
        ends: room.moment(link.expires_at),
    };
    Ok(show::page(StatusCode::CREATED, &page))
}

/// `GET /connection/disconnect`
pub(super) async fn confirm(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let key = Fields::of_query(&request).key()?;
    room.api.load(&key).await?;
    let page = templates::Disconnect {
        frame: room.frame(visitor, "connections", "Disconnect?"),
        back: place("/connection", &key),
        provider: key.provider.to_string(),
        user: key.user.to_string(),
    };
    Ok(show::page(StatusCode::OK, &page))
}

/// `POST /connection/disconnect`
pub(super) async fn disconnect(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let key = Fields::of_form(&room, request).await?.key()?;
    match room.api.disconnect(visitor.actor(), &key).await {
        Ok(revocation) => {
            let done = match revocation {
                Revocation::Revoked => "revoked",
                Revocation::NotOffered => "disconnected",
                Revocation::Failed => "not-revoked",
            };
            Ok(see_other(&href("/connections", &[("done", done)], &[])))
        }
        Err(trouble) => {
            room.failed(visitor, &key, "It was not disconnected", &trouble)
                .await
        }
    }
}

/// What an address says was done: one of these sentences, and nothing that somebody could write.
pub(super) fn notice(fields: &Fields) -> Option<Notice> {
    let count = || {
        fields
            .one("count")
            .and_then(|count| count.parse::<u64>().ok())
    };
    let notice = match fields.one("done")? {
        "renewed" => Notice::good("Renewed. The new token is in use."),
        "sync" => Notice::good("Asked for. All meetings will be read."),
        "revoked" => Notice::good("Disconnected. The provider has revoked the tokens."),
        "disconnected" => Notice::good(
            "Disconnected. The provider offers no revocation: its tokens end by themselves.",
        ),
        "not-revoked" => Notice::bad(
            "Disconnected here. The provider did not revoke the tokens: they end by themselves, or \
             when the user revokes them.",
        ),
        "replayed" => match count()? {
            1 => Notice::good("One delivery is on its way again."),
            count => Notice::good(format!("{count} deliveries are on their way again.")),
        },
        _ => return None,
    };
    Some(notice)
}

// === impl Room ===

impl Room {
    /// The page of `key`.
    async fn show(
        &self,
        visitor: Visitor,
        key: &ConnectionKey,
        status: StatusCode,
        notice: Option<Notice>,
    ) -> Answer {
        let connection = self.api.load(key).await?;
        let whole = self.api.whole(&connection).await?;
        let filter = DeliveryFilter {
            user: Some(key.user.clone()),
            provider: Some(key.provider.clone()),
            ..DeliveryFilter::default()
        };
        let deliveries = self
            .api
            .deliveries(&filter, None, Limit::of(HISTORY))
            .await?;
        let history = self.history.notes(HISTORY, |note| note.key == *key);
        let mut one = Detail::of(self, key, whole);
        one.history = history.iter().map(|note| Event::of(self, note)).collect();
        let lines = deliveries.items.iter();
        one.deliveries = lines.map(|line| Line::of(self, line)).collect();
        let frame = self.frame(visitor, "connections", key.user.as_str());
        let mut frame = frame.with_notice(notice);
        // What tells of a failure is the answer to a form, and has no address of its own.
        frame.is_live = status.is_success();
        Ok(show::page(status, &templates::Connection { frame, one }))
    }

    /// Back to the page of `key`, which says that it was done, or why not.
    async fn done(
        &self,
        visitor: Visitor,
        key: &ConnectionKey,
        word: &str,
        or: &str,
        done: Result<(), Trouble>,
    ) -> Answer {
        match done {
            Ok(()) => {
                let there = place("/connection", key);
                Ok(see_other(&format!("{there}&done={word}")))
            }
            Err(trouble) => self.failed(visitor, key, or, &trouble).await,
        }
    }

    async fn failed(
        &self,
        visitor: Visitor,
        key: &ConnectionKey,
        what: &str,
        trouble: &Trouble,
    ) -> Result<Response, show::Fault> {
        let told = trouble.told();
        let notice = Notice::bad(format!("{what}: {}.", told.detail));
        self.show(visitor, key, told.status, Some(notice)).await
    }
}

// === impl Detail ===

impl Detail {
    fn of(room: &Room, key: &ConnectionKey, whole: WholeView) -> Self {
        let one = whole.connection;
        let moment = |at| room.moment(at);
        let account = [
            ("Account", one.external_id.clone()),
            ("Organization", one.organization.clone()),
            ("Managed user", one.managed_user_id.map(|id| id.to_string())),
        ];
        let named = account
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let user = [("user", key.user.as_str())];
        let at = [("provider", key.provider.as_str())];
        Self {
            provider: key.provider.to_string(),
            user: key.user.to_string(),
            status: Badge::of_connection(&one),
            reason: one.reason.map(told),
            since: one.since.map(moment),
            is_managed: one.managed_user_id.is_some(),
            renewable: one.renewable && one.reason.is_none(),
            generation: one.generation.to_string(),
            ends: ends(&one).map(moment),
            renewed: one.renewed_at.map(moment),
            refresh_ends: one.refresh_expires_at.map(moment),
            failures: one.failures,
            retry: one.retry_at.map(moment),
            account: named.collect(),
            scope: one
                .scope
                .as_deref()
                .map(|scope| scope.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            created: moment(one.created_at),
            updated: moment(one.updated_at),
            subscription: whole.subscription.map(|view| SubscriptionView {
                status: Badge::of_subscription(view.status),
                reason: view.reason,
                since: view.since.map(moment),
                next: view.next_at.map(moment),
            }),
            sync: whole.sync.map(|sync| SyncView::of(room, &sync)),
            syncs: room.api.archive.is_some(),
            links: room.api.connect.url(key).is_some(),
            history: Vec::new(),
            deliveries: Vec::new(),
            all_deliveries: href("/deliveries", &user, &at),
            disconnect: place("/connection/disconnect", key),
        }
    }
}

// === impl Event ===

impl Event {
    pub(super) fn of(room: &Room, note: &Note) -> Self {
        let (what, detail) = match note.what {
            Happening::Renewal {
                redemption,
                outcome,
                took,
            } => {
                let how = match redemption {
                    Redemption::Standard => "with the refresh token",
                    Redemption::Force => "by force, with the client's secret",
                };
                let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let took = if took < 1000 {
                    format!("{took} ms")
                } else {
                    amount(took / 1000)
                };
                (Badge::of_renewal(outcome), format!("{how}; {took}"))
            }
            Happening::NeedsReauth(reason) => (
                Badge::new("needs its user", "bad"),
                format!("{}, and nothing but connecting again helps", told(reason)),
            ),
        };
        Self {
            at: room.moment(note.at),
            user: note.key.user.to_string(),
            provider: note.key.provider.to_string(),
            href: place("/connection", &note.key),
            what,
            detail,
        }
    }
}

// === impl Badge ===

impl Badge {
    const fn of_renewal(outcome: RenewalOutcome) -> Self {
        match outcome {
            RenewalOutcome::Renewed => Self::new("renewed", "good"),
            RenewalOutcome::GrantRefused => Self::new("grant refused", "bad"),
            RenewalOutcome::ClientRefused => Self::new("client refused", "bad"),
            RenewalOutcome::RateLimited => Self::new("rate limited", "warn"),
            RenewalOutcome::Failed => Self::new("failed", "warn"),
        }
    }

    const fn of_subscription(status: ViewStatus) -> Self {
        match status {
            ViewStatus::Pending => Self::new("pending", "calm"),
            ViewStatus::Active => Self::new("active", "good"),
            ViewStatus::Retrying => Self::new("retrying", "warn"),
            ViewStatus::Unavailable => Self::new("unavailable", "calm"),
            ViewStatus::Failed => Self::new("failed", "bad"),
        }
    }
}
