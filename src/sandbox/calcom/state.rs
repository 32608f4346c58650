//! What the emulated Cal.com knows: users, clients, tokens.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use super::{booking::Booking, webhooks::Webhook};
use crate::{base::clock::Timestamp, sandbox::dates};

/// The platform client that owns managed users.
pub(crate) const PLATFORM_CLIENT: &str = "sandbox-platform-client";
/// The confidential `OAuth2` client.
pub(crate) const CLIENT: &str = "sandbox-oauth2-client";
/// The public `OAuth2` client: no secret, PKCE instead.
pub(crate) const PUBLIC_CLIENT: &str = "sandbox-public-client";

/// Who acts when the platform client's own credentials are used.
pub(crate) const PLATFORM_OWNER: i64 = 1;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) users: BTreeMap<i64, User>,
    /// Rows of managed access tokens, by token.
    pub(crate) access: HashMap<String, Row>,
    /// Rows of managed refresh tokens, by token.
    pub(crate) refresh: HashMap<String, Row>,
    /// Managed access tokens that were deleted before they expired.
    pub(crate) killed: HashSet<String>,
    /// Lineage B: the secrets of live `OAuth2` refresh tokens, with client and user.
    pub(crate) rotating: HashMap<String, (String, i64)>,
    /// `OAuth2` access tokens that were killed through the control API, by id: the real service cannot.
    pub(crate) revoked: HashSet<String>,
    /// The secrets of `OAuth2` refresh tokens that the control API killed, whatever the lineage.
    pub(crate) dead_secrets: HashSet<String>,
    /// Every `OAuth2` access token ever issued, by id, with its user.
    pub(crate) issued: HashMap<String, i64>,
    /// Authorization codes that were not yet used.
    pub(crate) codes: HashMap<String, Code>,
    /// By uid.
    pub(crate) bookings: BTreeMap<String, Booking>,
    pub(crate) webhooks: Vec<Webhook>,
    /// Whose token it is or was, by token id.
    pub(crate) names: HashMap<String, String>,
    last_id: i64,
}

/// A managed token.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) user: i64,
    pub(crate) expires_at: Timestamp,
}

/// An authorization code, good for ten minutes (§1b).
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) client: String,
    pub(crate) user: i64,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) challenge: Option<String>,
    pub(crate) expires_at: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: i64,
    /// What the sandbox calls the user.
    pub(crate) name: String,
    pub(crate) email: String,
    /// Made by the platform client.
    pub(crate) managed: bool,
    pub(crate) time_zone: String,
    pub(crate) metadata: Value,
    pub(crate) created: Timestamp,
}

// === impl State ===

impl State {
    pub(crate) fn new() -> Self {
        let owner = User {
            id: PLATFORM_OWNER,
            name: "platform-owner".to_owned(),
            email: "owner@sandbox.test".to_owned(),
            managed: false,
            time_zone: "Europe/Berlin".to_owned(),
            metadata: json!({}),
            created: Timestamp::EPOCH,
        };
        Self {
            users: BTreeMap::from([(PLATFORM_OWNER, owner)]),
            access: HashMap::new(),
            refresh: HashMap::new(),
            killed: HashSet::new(),
            rotating: HashMap::new(),
            revoked: HashSet::new(),
            dead_secrets: HashSet::new(),
            issued: HashMap::new(),
            codes: HashMap::new(),
            bookings: BTreeMap::new(),
            webhooks: Vec::new(),
            names: HashMap::new(),
            last_id: 1000,
        }
    }

    pub(crate) const fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn by_name(&self, name: &str, managed: bool) -> Option<&User> {
        self.users
            .values()
            .find(|user| user.name == name && user.managed == managed)
    }

    pub(crate) fn by_email(&self, email: &str) -> Option<&User> {
        self.users.values().find(|user| user.email == email)
    }

    pub(crate) fn name_of(&self, id: i64) -> Option<String> {
        self.users.get(&id).map(|user| user.name.clone())
    }
}

// === impl User ===

impl User {
    /// The `user` of managed-user answers (§1a).
    pub(crate) fn shown(&self) -> Value {
        json!({
            "id": self.id,
            "email": self.email,
            "username": self.name,
            "name": self.name,
            "bio": null,
            "timeZone": self.time_zone,
            "weekStart": "Monday",
            "createdDate": dates::millis(self.created),
            "timeFormat": 24,
            "defaultScheduleId": null,
            "locale": "en",
            "avatarUrl": null,
            "metadata": self.metadata,
        })
    }
}
