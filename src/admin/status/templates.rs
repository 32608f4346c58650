//! What each template is made from. The templates lie in `templates/`; the compiler reads them.

use std::borrow::Cow;

use askama::Template;

use super::{
    chart::Chart,
    connection::{Detail, Event},
    connections::{Choice, Row},
    deliveries::Line,
    moment::Moment,
    show::{Badge, Frame},
    syncs::SyncRow,
};

/// The login.
#[derive(Template)]
#[template(path = "login.html", config = "src/admin/askama.toml")]
pub(super) struct Login {
    pub(super) next: String,
    pub(super) fault: Option<Cow<'static, str>>,
}

/// What is shown when there is no page.
#[derive(Template)]
#[template(path = "fault.html", config = "src/admin/askama.toml")]
pub(super) struct Fault<'a> {
    pub(super) title: &'a str,
    pub(super) detail: &'a str,
}

/// The first page.
#[derive(Template)]
#[template(path = "overview.html", config = "src/admin/askama.toml")]
pub(super) struct Overview {
    pub(super) frame: Frame,
    pub(super) components: Vec<Component>,
    /// Why there is nothing of the store.
    pub(super) store_fault: Option<String>,
    pub(super) counts: Counts,
    pub(super) providers: Vec<ProviderCount>,
    pub(super) requests: Chart,
    pub(super) renewals: Chart,
    pub(super) delivered: Chart,
    pub(super) broken: Vec<Row>,
    pub(super) dead: Vec<Line>,
    pub(super) recent: Vec<Event>,
}

/// A part that readiness speaks of.
pub(super) struct Component {
    pub(super) name: &'static str,
    pub(super) health: Badge,
    pub(super) reason: String,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) active: u64,
    pub(super) needs_reauth: u64,
    pub(super) pending: u64,
    pub(super) delivered: u64,
    pub(super) dead: u64,
    pub(super) unrouted: u64,
}

/// How many connections a provider has.
pub(super) struct ProviderCount {
    pub(super) name: String,
    pub(super) active: u64,
    pub(super) needs_reauth: u64,
}

/// The list of connections.
#[derive(Template)]
#[template(path = "connections.html", config = "src/admin/askama.toml")]
pub(super) struct Connections {
    pub(super) frame: Frame,
    pub(super) user: String,
    pub(super) providers: Vec<Choice>,
    pub(super) statuses: Vec<Choice>,
    pub(super) rows: Vec<Row>,
    pub(super) next: Option<String>,
    /// Where the list begins, if it is not here.
    pub(super) first: Option<String>,
    /// Why nothing can be found.
    pub(super) fault: Option<String>,
}

/// One connection.
#[derive(Template)]
#[template(path = "connection.html", config = "src/admin/askama.toml")]
pub(super) struct Connection {
    pub(super) frame: Frame,
    pub(super) one: Detail,
}

/// Asks whether a connection is to go.
#[derive(Template)]
#[template(path = "disconnect.html", config = "src/admin/askama.toml")]
pub(super) struct Disconnect {
    pub(super) frame: Frame,
    pub(super) provider: String,
    pub(super) user: String,
    pub(super) back: String,
}

/// A link that was asked for.
#[derive(Template)]
#[template(path = "link.html", config = "src/admin/askama.toml")]
pub(super) struct ConnectLink {
    pub(super) frame: Frame,
    pub(super) provider: String,
    pub(super) user: String,
    pub(super) back: String,
    pub(super) url: String,
    pub(super) ends: Moment,
}

/// The list of deliveries.
#[derive(Template)]
#[template(path = "deliveries.html", config = "src/admin/askama.toml")]
pub(super) struct Deliveries {
    pub(super) frame: Frame,
    pub(super) user: String,
    pub(super) providers: Vec<Choice>,
    pub(super) statuses: Vec<Choice>,
    pub(super) lines: Vec<Line>,
    pub(super) next: Option<String>,
    /// Where the list begins, if it is not here.
    pub(super) first: Option<String>,
    /// Where all dead letters of this selection can be replayed, if they are shown.
    pub(super) replay_dead: Option<String>,
    pub(super) fault: Option<String>,
}

/// Asks whether all dead letters are to be delivered again.
#[derive(Template)]
#[template(path = "replay-dead.html", config = "src/admin/askama.toml")]
pub(super) struct ReplayDead {
    pub(super) frame: Frame,
    pub(super) provider: String,
    pub(super) user: String,
    pub(super) back: String,
}

/// One delivery.
#[derive(Template)]
#[template(path = "delivery.html", config = "src/admin/askama.toml")]
pub(super) struct Delivery {
    pub(super) frame: Frame,
    pub(super) line: Line,
    pub(super) webhook_id: String,
    pub(super) event: String,
    pub(super) first_tried: Option<Moment>,
    /// Where the payload is, for those who may see it.
    pub(super) payload: Option<String>,
}

/// What an event says.
#[derive(Template)]
#[template(path = "payload.html", config = "src/admin/askama.toml")]
pub(super) struct Payload {
    pub(super) frame: Frame,
    pub(super) line: Line,
    pub(super) text: String,
    pub(super) bytes: usize,
    pub(super) is_cut: bool,
}

/// The list of syncs.
#[derive(Template)]
#[template(path = "syncs.html", config = "src/admin/askama.toml")]
pub(super) struct Syncs {
    pub(super) frame: Frame,
    pub(super) rows: Vec<SyncRow>,
    pub(super) next: Option<String>,
    /// Where the list begins, if it is not here.
    pub(super) first: Option<String>,
    /// Whether meetings are kept at all.
    pub(super) are_kept: bool,
}
