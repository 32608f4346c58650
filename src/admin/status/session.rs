//! Who is logged in: a cookie that proves itself, and the token that forms carry.
//!
//! 1. The cookie holds a random id, when it ends, and a code over both (HMAC-SHA256) that is keyed by
//!    the admin token: never the token. So it is worth the same at every sidecar that has the token,
//!    and nothing anywhere once the token is replaced.
//! 2. It ends eight hours after the login, whatever happens in between.
//! 3. Who logs out ends the session in this process at once; elsewhere a copy of the cookie would be
//!    good until it ends.
//! 4. Forms carry a code over the same id, which no other page can know. Where no admin token is
//!    configured, and so nobody logs in, its key is random and lives as long as the process.
//! 5. Tokens are compared as digests, codes as codes, both in constant time. After ten wrong tokens
//!    in a row one more is looked at every thirty seconds, whoever brings it.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use zeroize::Zeroize;

use crate::base::{
    clock::{SharedClock, Timestamp},
    random::SharedRandom,
    secret::{ReloadableSecret, Secret},
};

/// What the name of the cookie begins with.
pub(super) const COOKIE: &str = "daypass_session";

/// How long a login lasts: a working day.
pub(super) const LIFETIME: Duration = Duration::from_hours(8);

/// So many wrong tokens at once…
const WRONG_AT_ONCE: u32 = 10;

/// …and one more in so long.
const WRONG_EVERY: Duration = Duration::from_secs(30);

/// How many ended sessions are remembered, at most.
const MAX_ENDED: usize = 1024;

const FOR_SESSIONS: &[u8] = b"daypass status page: session\0";
const FOR_FORMS: &[u8] = b"daypass status page: form\0";

/// Tells who is logged in.
pub(super) struct Sessions {
    token: Option<ReloadableSecret>,
    /// Keys the codes of forms where nobody logs in.
    own: Secret<[u8; 32]>,
    clock: SharedClock,
    random: SharedRandom,
    /// Those that were ended here, and when they would have ended.
    ended: Mutex<HashMap<Id, Timestamp>>,
    /// When all wrong tokens will have been forgiven.
    forgiven_at: Mutex<Option<Instant>>,
}

type Id = [u8; 16];

/// A session, as its cookie proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    id: Id,
    ends_at: Timestamp,
}

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not the token.
    Wrong,
    /// Not now; nothing was compared.
    TooMany(Duration),
}

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(
        token: Option<ReloadableSecret>,
        clock: SharedClock,
        random: SharedRandom,
    ) -> Self {
        Self {
            own: Secret::new(random.bytes()),
            token,
            clock,
            random,
            ended: Mutex::default(),
            forgiven_at: Mutex::default(),
        }
    }

    /// Whether there is a token to log in with.
    pub(super) const fn are_needed(&self) -> bool {
        self.token.is_some()
    }

    /// The cookie of a new session, for who shows the token.
    pub(super) fn begin(&self, shown: &str) -> Result<String, Refused> {
        let token = self.token.as_ref().ok_or(Refused::Wrong)?.current();
        self.admit()?;
        let digest = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
        if !bool::from(digest(shown.trim()).ct_eq(&digest(token.danger_expose()))) {
            self.count_wrong();
            return Err(Refused::Wrong);
        }
        let session = Session {
            id: self.random.bytes(),
            ends_at: self.clock.now().saturating_add(LIFETIME),
        };
        let mut cookie = session.to_bytes().to_vec();
        let code = code(token.danger_expose().as_bytes(), FOR_SESSIONS, &cookie);
        cookie.extend(code.finalize().into_bytes());
        Ok(URL_SAFE_NO_PAD.encode(cookie))
    }

    /// The session that `cookie` proves, if it has not ended.
    pub(super) fn of(&self, cookie: &str) -> Option<Session> {
        let token = self.token.as_ref()?.current();
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (content, shown) = bytes.split_at_checked(Session::LEN)?;
        let expected = code(token.danger_expose().as_bytes(), FOR_SESSIONS, content);
        expected.verify_slice(shown).ok()?;
        let session = Session::from_bytes(content)?;
        let now = self.clock.now();
        // A clock that was set back makes no session longer.
        let is_under_way = session.ends_at > now && session.ends_at <= now.saturating_add(LIFETIME);
        (is_under_way && !self.ended.lock().contains_key(&session.id)).then_some(session)
    }

    /// Ends a session here, for good.
    pub(super) fn end(&self, session: Session) {
        let now = self.clock.now();
        let mut ended = self.ended.lock();
        if ended.len() >= MAX_ENDED {
            ended.retain(|_, ends_at| *ends_at > now);
        }
        if ended.len() < MAX_ENDED {
            ended.insert(session.id, session.ends_at);
        }
    }

    /// What the forms of a session carry; `None` is who needs no session.
    pub(super) fn form_token(&self, session: Option<Session>) -> String {
        URL_SAFE_NO_PAD.encode(self.form_code(session).finalize().into_bytes())
    }

    /// Whether a form carries what it was given.
    pub(super) fn is_form_token(&self, session: Option<Session>, shown: &str) -> bool {
        let shown = URL_SAFE_NO_PAD.decode(shown).unwrap_or_default();
        self.form_code(session).verify_slice(&shown).is_ok()
    }

    fn form_code(&self, session: Option<Session>) -> Hmac<Sha256> {
        match (&self.token, session) {
            (Some(token), Some(session)) => {
                let token = token.current();
                let key = token.danger_expose().as_bytes();
                code(key, FOR_FORMS, &session.id)
            }
            _ => code(self.own.danger_expose(), FOR_FORMS, &[]),
        }
    }

    fn admit(&self) -> Result<(), Refused> {
        let now = Instant::now();
        let forgiven_at = self.forgiven_at.lock().unwrap_or(now).max(now);
        let allowed = now + WRONG_EVERY.saturating_mul(WRONG_AT_ONCE - 1);
        if forgiven_at > allowed {
            return Err(Refused::TooMany(
                forgiven_at.saturating_duration_since(allowed),
            ));
        }
        Ok(())
    }

    fn count_wrong(&self) {
        let now = Instant::now();
        let mut forgiven_at = self.forgiven_at.lock();
        *forgiven_at = Some(forgiven_at.unwrap_or(now).max(now) + WRONG_EVERY);
    }
}

fn code(key: &[u8], what_for: &[u8], content: &[u8]) -> Hmac<Sha256> {
    // A digest is shorter than the block that keys the code (RFC 2104 §2); the rest of that is zeros.
    let mut block = [0; 64];
    for (place, byte) in block.iter_mut().zip(Sha256::digest(key)) {
        *place = byte;
    }
    let mut code = Hmac::<Sha256>::new(&block.into());
    block.zeroize();
    code.update(what_for);
    code.update(content);
    code
}

// === impl Session ===

impl Session {
    const LEN: usize = 24;

    /// What it is called where people read; nothing can be done with that.
    pub(super) fn name(self) -> String {
        let [first, second, third, fourth, ..] = self.id;
        format!("session {}", hex::encode([first, second, third, fourth]))
    }

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let ends_at = self.ends_at.as_millis().to_be_bytes();
        for (place, byte) in bytes.iter_mut().zip(self.id.into_iter().chain(ends_at)) {
            *place = byte;
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, ends_at) = bytes.split_first_chunk::<16>()?;
        let ends_at = i64::from_be_bytes(*ends_at.first_chunk::<8>()?);
        Some(Self {
            id: *id,
            ends_at: Timestamp::from_millis(ends_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::advance;

    use super::*;
    use crate::base::{clock::ManualClock, random::SeededRandom};

    struct Stage {
        sessions: Sessions,
        token: ReloadableSecret,
        clock: ManualClock,
    }

    fn stage(seed: u64) -> Stage {
        let token = ReloadableSecret::new(Secret::from("s3cret".to_owned()));
        let clock = ManualClock::new(Timestamp::from_secs(1_700_000_000));
        let sessions = Sessions::new(
            Some(token.clone()),
            Arc::new(clock.clone()),
            Arc::new(SeededRandom::new(seed)),
        );
        Stage {
            sessions,
            token,
            clock,
        }
    }

    #[tokio::test]
    async fn the_cookie_of_a_login_is_good_for_eight_hours_at_every_sidecar() {
        let (here, there) = (stage(1), stage(2));
        let cookie = here.sessions.begin(" s3cret\n").unwrap();
        assert!(!cookie.contains("s3cret"));
        let session = here.sessions.of(&cookie).unwrap();
        assert_eq!(there.sessions.of(&cookie), Some(session));
        let almost = Duration::from_secs(8 * 3600 - 1);
        here.clock.advance(almost);
        assert_eq!(here.sessions.of(&cookie), Some(session));
        here.clock.advance(Duration::from_secs(1));
        assert_eq!(here.sessions.of(&cookie), None);
        here.clock.set(Timestamp::from_secs(1_600_000_000));
        assert_eq!(here.sessions.of(&cookie), None, "the clock was set back");
    }

    #[tokio::test]
    async fn a_new_token_ends_every_session_and_a_logout_ends_its_own() {
        let Stage {
            sessions, token, ..
        } = stage(1);
        let (one, other) = (
            sessions.begin("s3cret").unwrap(),
            sessions.begin("s3cret").unwrap(),
        );
        assert_ne!(one, other);
        sessions.end(sessions.of(&one).unwrap());
        assert_eq!(sessions.of(&one), None);
        assert!(sessions.of(&other).is_some());
        token.replace(Secret::from("new".to_owned()));
        assert_eq!(sessions.of(&other), None);
        assert_eq!(sessions.begin("s3cret"), Err(Refused::Wrong));
    }

    #[tokio::test]
    async fn a_cookie_that_was_touched_anywhere_proves_nothing() {
        let sessions = stage(1).sessions;
        let cookie = sessions.begin("s3cret").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&cookie).unwrap();
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            assert_eq!(sessions.of(&URL_SAFE_NO_PAD.encode(bytes)), None, "{place}");
        }
        for end in 0..bytes.len() {
            assert_eq!(
                sessions.of(&URL_SAFE_NO_PAD.encode(&bytes[..end])),
                None,
                "{end}"
            );
        }
        for garbage in ["", "=", "s3cret", "ä"] {
            assert_eq!(sessions.of(garbage), None);
        }
    }

    #[tokio::test]
    async fn the_form_token_of_one_session_fits_no_other() {
        let sessions = stage(1).sessions;
        let session = || sessions.of(&sessions.begin("s3cret").unwrap());
        let (one, other) = (session(), session());
        let token = sessions.form_token(one);
        assert!(sessions.is_form_token(one, &token));
        assert!(!sessions.is_form_token(other, &token));
        assert!(!sessions.is_form_token(one, ""));
        let open = Sessions::new(
            None,
            Arc::new(ManualClock::new(Timestamp::EPOCH)),
            Arc::new(SeededRandom::new(1)),
        );
        assert!(open.is_form_token(None, &open.form_token(None)));
        assert!(!open.is_form_token(None, &token));
    }

    #[tokio::test(start_paused = true)]
    async fn after_ten_wrong_tokens_one_is_looked_at_every_thirty_seconds() {
        let sessions = stage(1).sessions;
        for _ in 0..10 {
            assert_eq!(sessions.begin("wrong"), Err(Refused::Wrong));
        }
        let wait = Duration::from_secs(30);
        assert_eq!(sessions.begin("s3cret"), Err(Refused::TooMany(wait)));
        advance(Duration::from_millis(29_999)).await;
        assert!(sessions.begin("s3cret").is_err());
        advance(Duration::from_millis(1)).await;
        assert!(sessions.begin("s3cret").is_ok());
        assert_eq!(sessions.begin("wrong"), Err(Refused::Wrong));
        assert_eq!(sessions.begin("s3cret"), Err(Refused::TooMany(wait)));
    }
}
