//! A fleet under load: users, the app's requests, and those who watch store and providers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use daypass::{
    base::{ids::ConnectionKey, secret::Secret},
    sandbox::{Call, Entry, Filter, Kind, NewUser, token_id},
    store::{
        Connection, SharedStore, Status,
        seal::{Aad, Field, Key, KeyRing},
    },
};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{sleep, timeout},
};

use crate::{
    chronicle::{Accepted, ApiCall, Millis, Request, Stored, Who, now},
    dice::Dice,
    ground::{Ground, KEY, line},
    keeper::{self, Backend},
    strikes::Targets,
};

/// No request takes longer, whatever happens: the longest pause, the store's patience, two token
/// calls and the answer of the provider, one after the other, twice.
pub(crate) const UNANSWERED: Duration = Duration::from_secs(45);

/// Requests that are under way at each place.
const CALLERS: usize = 4;

/// Entries that a provider's log may still fill in behind the newest.
const BEHIND: u64 = 4_000;

/// A fleet.
pub(crate) struct Fleet {
    pub(crate) ground: Ground,
    pub(crate) backend: Backend,
    pub(crate) users: Vec<User>,
    pub(crate) targets: Targets,
    store: SharedStore,
    keys: KeyRing,
    read: Mutex<(Read, Read)>,
    /// What was found in the store last: each user's refresh token, and why it is marked.
    last: AsyncMutex<BTreeMap<String, (String, Option<String>)>>,
}

/// A user of the app.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) provider: &'static str,
    pub(crate) name: String,
}

/// What has been read of a provider's log.
#[derive(Default)]
struct Read {
    seen: BTreeSet<u64>,
}

// === impl User ===

impl User {
    /// As the chronicle calls it.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.provider, self.name)
    }

    /// Where the provider says whose token it was called with.
    fn echo(&self) -> String {
        let version = if self.provider == "calcom" { "/v2" } else { "" };
        format!("/{}{version}/_echo?as={}", self.provider, self.name)
    }
}

// === impl Fleet ===

impl Fleet {
    /// Connects `calendly` and `managed` users and starts every process.
    pub(crate) async fn open(
        ground: Ground,
        backend: Backend,
        (calendly, managed): (usize, usize),
    ) -> Self {
        let user = |provider, name| User { provider, name };
        let users = (0..calendly)
            .map(|nth| user("calendly", format!("anna-{nth}")))
            .chain((0..managed).map(|nth| user("calcom", format!("mona-{nth}"))))
            .collect();
        let key = Key::parse("k1", &Secret::new(KEY.to_owned())).unwrap();
        let places = ground.places.len();
        // The first process makes the tables.
        ground.start().await;
        let url = ground.keeper.lock().url(None);
        let store = keeper::open(&url, &ground.lifecycle).await;
        let fleet = Self {
            store,
            backend,
            users,
            targets: Targets::new(places),
            keys: KeyRing::new("k1", vec![key]).unwrap(),
            read: Mutex::default(),
            last: AsyncMutex::default(),
            ground,
        };
        let lines: Vec<Value> = fleet
            .users
            .iter()
            .map(|user| fleet.connected(user))
            .collect();
        fleet.ground.import(&lines).await;
        fleet
    }

    /// The user connects at the provider: the line to import.
    fn connected(&self, user: &User) -> Value {
        let sandbox = &self.ground.sandbox;
        let created = if user.provider == "calendly" {
            sandbox.calendly().create_user(&NewUser::named(&user.name))
        } else {
            sandbox.calcom().create_user(&NewUser::managed(&user.name))
        };
        let created = created.unwrap();
        let minted = (token_id(&created.access_token), now());
        self.ground
            .chronicle
            .with(|events| events.minted.extend([minted]));
        line(user.provider, &created)
    }

    /// The user connects again.
    pub(crate) async fn reconnect(&self, user: &User) {
        let line = self.connected(user);
        let note = |from| {
            let key = user.key();
            self.ground
                .chronicle
                .with(|events| events.reconnected.push((key, from)));
        };
        note(now());
        // A command that meets a store in trouble fails, and is repeated by whoever gave it.
        let mut tries = 0;
        while !self.ground.try_import(std::slice::from_ref(&line)).await {
            tries += 1;
            assert!(tries < 60, "{} cannot connect again", user.key());
            sleep(Duration::from_millis(500)).await;
        }
        note(now());
    }

    /// Whose renewals these files of a spool are.
    pub(crate) fn users_of(&self, files: &[String]) -> Vec<String> {
        let keys = self.users.iter().map(User::key);
        keys.filter(|key| files.contains(&hex::encode(Sha256::digest(key))))
            .collect()
    }

    /// Calls on behalf of users until dropped.
    pub(crate) fn begin_load(self: &Arc<Self>, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
        let callers = (0..self.ground.places.len()).flat_map(|place| {
            (0..CALLERS).map(move |nth| (place, seed ^ ((place * CALLERS + nth) as u64) << 32))
        });
        callers
            .map(|(place, seed)| {
                let fleet = Arc::clone(self);
                tokio::spawn(async move {
                    let dice = Dice::new(seed);
                    loop {
                        let user = &fleet.users[dice.below(fleet.users.len())];
                        fleet.call(place, user).await;
                        sleep(dice.millis(20, 180)).await;
                    }
                })
            })
            .collect()
    }

    /// One request at `place`, noted; its outcome.
    pub(crate) async fn call(&self, place: usize, user: &User) -> Option<String> {
        let doors = self.ground.places[place].doors()?;
        let who = Who {
            place,
            life: doors.life,
        };
        let from = now();
        let url = format!("{}{}", doors.outbound, user.echo());
        let request = self.ground.http.get(url).header("x-user-id", &user.name);
        let answered = timeout(UNANSWERED, async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.text().await?))
        })
        .await;
        let (outcome, body) = match answered {
            Err(_elapsed) => ("unanswered".to_owned(), Value::Null),
            Ok(Err(_broken)) => ("broken".to_owned(), Value::Null),
            Ok(Ok((status, text))) => {
                let body: Value = serde_json::from_str(&text).unwrap_or_default();
                let slug = body["type"]
                    .as_str()
                    .and_then(|kind| kind.rsplit(':').next());
                let slug = slug.map(|slug| format!("{} {slug}", status.as_u16()));
                (slug.unwrap_or_else(|| status.as_u16().to_string()), body)
            }
        };
        let text = |field: &str| body[field].as_str().map(ToOwned::to_owned);
        let request = Request {
            user: user.key(),
            who,
            from,
            until: now(),
            outcome: outcome.clone(),
            served_as: text("user").map(|name| format!("{}/{name}", user.provider)),
            bearer: text("bearer"),
        };
        self.ground
            .chronicle
            .with(|events| events.requests.push(request));
        Some(outcome)
    }

    /// Notes each state of the store that is new; while the store fails, none.
    pub(crate) async fn watch_store(self: Arc<Self>) {
        loop {
            self.look_at_store().await;
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Notes what the store has now, and is new; whether it answered. One look at a time, so that none
    /// overtakes a later one.
    pub(crate) async fn look_at_store(&self) -> bool {
        let mut last = self.last.lock().await;
        let everything = daypass::store::Filter::default();
        // Not cut off: the store has patience of its own, and connections learn from what they wait for.
        let Ok(page) = self.store.page(&everything, None, 1_000).await else {
            return false;
        };
        for connection in page {
            let user = connection.key.to_string();
            let state = (self.token_of(&connection), marked(&connection));
            if last.get(&user) != Some(&state) {
                let (token, marked) = state.clone();
                last.insert(user.clone(), state);
                let at = now();
                let stored = Stored {
                    user,
                    token,
                    marked,
                    at,
                };
                self.ground
                    .chronicle
                    .with(|events| events.stored.push(stored));
            }
        }
        true
    }

    /// The refresh token of a connection, by its id.
    fn token_of(&self, connection: &Connection) -> String {
        let sealed = connection
            .tokens
            .as_ref()
            .and_then(|tokens| tokens.refresh.as_ref());
        let key: &ConnectionKey = &connection.key;
        let aad = Aad::new(key, Field::RefreshToken);
        let opened = sealed.map(|sealed| self.keys.open(&aad, sealed).unwrap());
        opened
            .map(|token| token_id(token.danger_expose()))
            .unwrap_or_default()
    }

    /// Reads the logs of the providers until dropped.
    pub(crate) async fn watch_providers(self: Arc<Self>) {
        loop {
            self.read_providers();
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// Notes what is new in the logs of the providers.
    pub(crate) fn read_providers(&self) {
        let (calendly, calcom) = &mut *self.read.lock();
        let sandbox = &self.ground.sandbox;
        let entries = sandbox.calendly().entries(&calendly.filter());
        self.note_entries("calendly", calendly, entries);
        let entries = sandbox.calcom().entries(&calcom.filter());
        self.note_entries("calcom", calcom, entries);
    }

    fn note_entries(&self, provider: &str, read: &mut Read, entries: Vec<Entry>) {
        self.ground.chronicle.with(|events| {
            for entry in entries.into_iter().filter(|entry| read.is_new(entry)) {
                let at = entry.at.as_millis();
                if entry.kind == Kind::Api {
                    // What the app did not ask for, a sidecar did by itself: whose a connection is, say.
                    if let Some((_, name)) = entry.path.split_once("?as=") {
                        events.api_calls.push(ApiCall {
                            asked_as: name.to_owned(),
                            bearer_of: entry.user,
                        });
                    }
                    continue;
                }
                let Some(call) = entry.token_call else {
                    continue;
                };
                if let Some(access) = call.new_access {
                    events.minted.insert(access, at);
                }
                let Some(token) = call.refresh.filter(|_| call.call == Call::Refresh) else {
                    continue;
                };
                match call.new_refresh {
                    Some(minted) => events.accepted.push(Accepted {
                        user: format!("{provider}/{}", call.user.unwrap_or_default()),
                        token,
                        minted,
                        at,
                        spoiled: entry.status == 0 || entry.status >= 500,
                    }),
                    None => *events.refused.entry(token).or_default() += 1,
                }
            }
        });
    }

    /// The last state of every user in the store.
    pub(crate) fn in_store(&self) -> BTreeMap<String, Stored> {
        self.ground.chronicle.with(|events| {
            let states = events
                .stored
                .iter()
                .map(|state| (state.user.clone(), state.clone()));
            states.collect()
        })
    }

    /// When a user's state in the store was last seen to change.
    pub(crate) fn renewed_since(&self, since: Millis) -> bool {
        let states = self.in_store();
        let is_done = |user: &User| {
            let state = states.get(&user.key());
            state.is_some_and(|state| state.marked.is_some() || state.at >= since)
        };
        self.users.iter().all(is_done)
    }
}

fn marked(connection: &Connection) -> Option<String> {
    match connection.status {
        Status::Active => None,
        Status::NeedsReauth { reason, .. } => Some(reason.as_str().to_owned()),
    }
}

// === impl Read ===

impl Read {
    fn filter(&self) -> Filter {
        let newest = self.seen.last().copied().unwrap_or(0);
        Filter {
            after: newest.saturating_sub(BEHIND),
            ..Filter::default()
        }
    }

    fn is_new(&mut self, entry: &Entry) -> bool {
        self.seen.insert(entry.seq)
    }
}
