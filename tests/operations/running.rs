//! A sidecar in use: the app asks, users connect, the store fails and comes back.

use std::{io::Write as _, net::TcpStream, thread, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    binary::Serving,
    documents::documented,
    emulators::{Emulators, call, get, get_for},
    places::Place,
};

pub(crate) struct Running {
    pub(crate) emulators: Emulators,
    pub(crate) sidecar: Serving,
    pub(crate) outbound: String,
    pub(crate) admin: String,
}

/// A lease that could not be given back, as the store failed, runs out in a few seconds.
const HURRIED: [&str; 4] = [
    "--set",
    "refresh.timeout=5s",
    "--set",
    "refresh.lease_ttl=6s",
];

/// Waits until it is so, for a minute at most.
#[track_caller]
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1_200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("in a minute it did not come about that {what}");
}

// === impl Running ===

impl Running {
    /// On the store of the place, with emulated providers.
    pub(crate) fn on(place: &Place) -> Self {
        let emulators = place.emulate();
        let (sidecar, outbound, admin) = place.home.sidecar(&HURRIED);
        Self {
            emulators,
            sidecar,
            outbound,
            admin,
        }
    }

    /// Another sidecar in the place of one that has ended, with the same providers.
    pub(crate) fn again(self, place: &Place) -> Self {
        let (sidecar, outbound, admin) = place.home.sidecar(&HURRIED);
        Self {
            emulators: self.emulators,
            sidecar,
            outbound,
            admin,
        }
    }

    /// A user of Calendly to import, whose token ends then.
    pub(crate) fn line(&self, name: &str, expires_in: u32) -> String {
        let user = self.emulators.at_calendly(name);
        let row = json!({
            "user": name,
            "provider": "calendly",
            "access_token": user["access_token"],
            "refresh_token": user["refresh_token"],
            "expires_in": expires_in,
        });
        format!("{row}\n")
    }

    /// Connects a user whose token has ended, and asks for them: what the store has is read, and what
    /// the provider mints is written. The status.
    pub(crate) fn connect_and_ask(&self, place: &Place, user: &str) -> u16 {
        let line = self.line(user, 0);
        place
            .home
            .run_with(&["connections", "import"], &line)
            .fine();
        self.ask(user)
    }

    /// The status of a call for `user`.
    pub(crate) fn ask(&self, user: &str) -> u16 {
        let me = format!("{}/calendly/users/me", self.outbound);
        get_for(&me, user).status.as_u16()
    }

    /// Has `user` renewed; the generation then.
    pub(crate) fn renew(&self, user: &str) -> Value {
        let url = format!("{}/-/calendly/refresh", self.outbound);
        let answer = call(Method::POST, &url, Some(user), None);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["generation"].clone()
    }

    /// Begins to renew `user`, and hears no answer.
    pub(crate) fn begin_to_renew(&self, user: &str) -> TcpStream {
        let host = self.outbound.trim_start_matches("http://");
        let mut asker = TcpStream::connect(host).unwrap();
        let head = format!(
            "POST /-/calendly/refresh HTTP/1.1\r\nHost: {host}\r\nX-User-Id: {user}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        asker.write_all(head.as_bytes()).unwrap();
        asker
    }

    /// Begins to renew `user`, and waits until the attempt is recorded. Calendly rotates the tokens, and
    /// takes two seconds to answer: what is done to the store now is done before it can have them.
    pub(crate) fn rotate(&self, place: &Place, user: &str) {
        self.slow_down(2_000);
        let there = place.open();
        let _asker = self.begin_to_renew(user);
        wait_until("the renewal has begun", || {
            let all = there.all();
            let of_user = all
                .iter()
                .find(|record| record.connection.key.user.as_str() == user);
            of_user.unwrap().connection.intent.is_some()
        });
    }

    /// Has Calendly take so long to answer after it has rotated a token.
    pub(crate) fn slow_down(&self, millis: u64) {
        self.switch(&json!({ "token_latency_after_ms": millis }));
    }

    /// Has Calendly take as many token calls as it gets.
    pub(crate) fn take_all_calls(&self) {
        self.switch(&json!({ "token_per_minute": 0 }));
    }

    fn switch(&self, switches: &Value) {
        let url = format!("{}/_sandbox/switches", self.emulators.calendly);
        call(Method::PATCH, &url, None, Some(switches));
    }

    /// What a command shows of `user`: their generation in the store.
    pub(crate) fn generation(place: &Place, user: &str) -> Value {
        let show = ["connections", "show", "calendly", user, "--json"];
        place.home.run(&show).fine().json()["generation"].clone()
    }

    pub(crate) fn readiness(&self) -> Value {
        get(&format!("{}/readyz", self.admin)).json()
    }

    /// Waits until `/readyz` says so, which the document must say, too.
    #[track_caller]
    pub(crate) fn until_told(&self, text: &str) {
        documented(text);
        wait_until(text, || self.readiness().to_string().contains(text));
    }

    /// Waits until all is well.
    #[track_caller]
    pub(crate) fn until_ready(&self) {
        wait_until("all is well", || self.readiness()["status"] == "ready");
    }

    /// No refresh token was sent twice, and none was refused.
    #[track_caller]
    pub(crate) fn assert_each_token_was_sent_once(&self) {
        let stats = get(&format!("{}/_sandbox/stats", self.emulators.calendly)).json();
        let uses = stats["redemptions"].as_object().unwrap();
        assert!(!uses.is_empty(), "{stats}");
        let is_once = |found: &Value| found["ok"] == 1 && found["refused"] == 0;
        assert!(uses.values().all(is_once), "{stats}");
    }

    /// Tells it to stop; its exit code.
    pub(crate) fn stop(self) -> Option<i32> {
        self.sidecar.stop()
    }
}
