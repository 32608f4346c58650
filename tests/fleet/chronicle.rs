//! What happened in a run, in milliseconds of the machine's clock: from it alone the judge decides.
//!
//! Refresh tokens go by [`token_id`](daypass::sandbox::token_id), users by `provider/user`.

use std::{collections::BTreeMap, fmt::Write as _};

use daypass::base::clock::{Clock, SystemClock};
use parking_lot::Mutex;

/// Milliseconds since the Unix epoch.
pub(crate) type Millis = i64;

/// Now.
pub(crate) fn now() -> Millis {
    SystemClock.now().as_millis()
}

/// One process: where it runs, and how many were there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) place: usize,
    pub(crate) life: u32,
}

/// A refresh token that left a process, as seen on its way to the provider.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) who: Who,
    pub(crate) token: String,
    pub(crate) at: Millis,
    /// The answer, once the provider gave one.
    pub(crate) answer: Option<Answer>,
    /// When the whole answer was handed to the process.
    pub(crate) delivered: Option<Millis>,
    /// When the connection was over.
    pub(crate) ended: Option<Millis>,
}

/// What a provider answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The new refresh token.
    pub(crate) minted: Option<String>,
}

/// A refresh token that a provider accepted, by its own log.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) user: String,
    pub(crate) token: String,
    pub(crate) minted: String,
    /// When the call arrived.
    pub(crate) at: Millis,
    /// The provider was told to lose or spoil the answer.
    pub(crate) spoiled: bool,
}

/// A state of a connection that was found in the store.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) user: String,
    pub(crate) token: String,
    /// Why the user must connect again, if so.
    pub(crate) marked: Option<String>,
    pub(crate) at: Millis,
}

/// What a fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The process at a place: it stands still, or dies.
    Process(usize),
    /// The way from a place to the store.
    WayToStore(usize),
    /// The ways from a place to the providers.
    WayToProvider(usize),
    /// The store itself.
    Store,
    /// The providers.
    Provider,
}

/// Something that went wrong on purpose.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) part: Part,
    pub(crate) what: &'static str,
    pub(crate) from: Millis,
    pub(crate) until: Millis,
}

/// The death of a process.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    pub(crate) who: Who,
    pub(crate) at: Millis,
    /// Whose new tokens were in its spool.
    pub(crate) spooled: Vec<String>,
}

/// A request of the app.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) user: String,
    pub(crate) who: Who,
    pub(crate) from: Millis,
    pub(crate) until: Millis,
    pub(crate) outcome: String,
    /// Whose token went with it, by the provider's word.
    pub(crate) served_as: Option<String>,
    /// The access token that went with it.
    pub(crate) bearer: Option<String>,
}

/// An API call that reached a provider.
#[derive(Clone, Debug)]
pub(crate) struct ApiCall {
    /// Whom the request was for.
    pub(crate) asked_as: String,
    /// Whose token it carried.
    pub(crate) bearer_of: Option<String>,
}

/// An access token: when it was minted.
pub(crate) type Minted = BTreeMap<String, Millis>;

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    pub(crate) sendings: Vec<Sending>,
    pub(crate) accepted: Vec<Accepted>,
    /// Refresh tokens that were refused, and how often.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) stored: Vec<Stored>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) deaths: Vec<Death>,
    pub(crate) requests: Vec<Request>,
    pub(crate) api_calls: Vec<ApiCall>,
    pub(crate) minted: Minted,
    /// When a user connected again.
    pub(crate) reconnected: Vec<(String, Millis)>,
    /// When access tokens of a user were revoked at the provider.
    pub(crate) revoked: Vec<(String, Millis)>,
}

impl Events {
    /// What concerns `token` of `user` and its successor, in order: for whoever wants to know why.
    pub(crate) fn story(&self, user: &str, token: &str) -> String {
        let sent: Vec<_> = self
            .sendings
            .iter()
            .filter(|call| call.token == token)
            .collect();
        let places: Vec<_> = sent.iter().map(|call| call.who.place).collect();
        let from = sent.first().map_or(0, |call| call.at) - 10_000;
        let concerns = |part: &Part| match part {
            Part::Store | Part::Provider => true,
            Part::Process(place) | Part::WayToStore(place) | Part::WayToProvider(place) => {
                places.contains(place)
            }
        };
        let mut told: Vec<(Millis, String)> = Vec::new();
        told.extend(sent.iter().map(|call| (call.at, format!("{call:?}"))));
        let accepted = self.accepted.iter().filter(|one| one.token == token);
        told.extend(accepted.map(|one| (one.at, format!("{one:?}"))));
        let stored = self.stored.iter().filter(|state| state.user == user);
        told.extend(stored.map(|state| (state.at, format!("{state:?}"))));
        let faults = self.faults.iter().filter(|fault| concerns(&fault.part));
        told.extend(faults.map(|fault| (fault.from, format!("{fault:?}"))));
        let deaths = self.deaths.iter();
        let deaths = deaths.filter(|death| places.contains(&death.who.place));
        told.extend(deaths.map(|death| (death.at, format!("{death:?}"))));
        let asked = self.requests.iter().filter(|request| request.user == user);
        told.extend(asked.map(|request| (request.from, format!("{request:?}"))));
        told.sort();
        let mut story = String::new();
        for (at, what) in told.into_iter().filter(|(at, _)| *at >= from) {
            write!(story, "\n    {at} {what}").unwrap();
        }
        story
    }
}

/// The events of a run that is under way.
#[derive(Debug, Default)]
pub(crate) struct Chronicle(Mutex<Events>);

// === impl Chronicle ===

impl Chronicle {
    /// Notes something, or looks something up.
    pub(crate) fn with<T>(&self, note: impl FnOnce(&mut Events) -> T) -> T {
        note(&mut self.0.lock())
    }

    /// Notes a fault that begins now.
    pub(crate) fn fault(&self, part: Part, what: &'static str, millis: u64) {
        let (from, long) = (now(), i64::try_from(millis).unwrap());
        let until = from + long;
        self.with(|events| {
            events.faults.push(Fault {
                part,
                what,
                from,
                until,
            });
        });
    }
}
