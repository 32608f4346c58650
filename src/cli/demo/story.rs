//! What the demo tells its reader to try, and what to expect of it.

use std::fmt::Write;

use serde_json::{Value, json};
use url::Url;

use super::SIGNING_SECRET;
use crate::{app::Sidecar, sandbox::Sandbox};

/// The addresses that the story takes place at.
pub(super) struct Story {
    pub(super) outbound: String,
    pub(super) ingress: String,
    pub(super) admin: String,
    pub(super) calcom: String,
    pub(super) calendly: String,
    /// Usual ports that somebody else has.
    taken: Vec<u16>,
    /// Where the reader's own app takes webhooks, if there is one.
    app: Option<String>,
}

/// One thing to see.
struct Step {
    title: &'static str,
    try_this: Vec<String>,
    expect: &'static str,
}

// === impl Story ===

impl Story {
    pub(super) fn new(
        sidecar: &Sidecar,
        sandbox: &Sandbox,
        taken: Vec<u16>,
        app: Option<&Url>,
    ) -> Self {
        Self {
            outbound: format!("http://{}", sidecar.outbound()),
            ingress: format!("http://{}", sidecar.ingress()),
            admin: format!("http://{}", sidecar.admin()),
            calcom: sandbox.calcom_url().to_owned(),
            calendly: sandbox.calendly_url().to_owned(),
            taken,
            app: app.map(Url::to_string),
        }
    }

    /// The addresses and who is connected, for a program.
    pub(super) fn addresses(&self) -> Value {
        json!({
            "outbound": self.outbound,
            "ingress": self.ingress,
            "admin": self.admin,
            "calcom": self.calcom,
            "calendly": self.calendly,
            "users": ["alice", "bob"],
        })
    }

    /// That other ports than usual are used, if so.
    fn moved(&self) -> String {
        let ports: Vec<_> = self.taken.iter().map(u16::to_string).collect();
        match ports.as_slice() {
            [] => String::new(),
            [port] => format!("(Port {port} is taken here, so a free one is used.)\n"),
            ports => format!(
                "(Ports {} are taken here, so free ones are used.)\n",
                ports.join(", ")
            ),
        }
    }

    /// Where webhooks go, if they go to an app of the reader's.
    fn delivered(&self) -> String {
        match &self.app {
            Some(app) => format!("  webhooks go to {app}, signed with {SIGNING_SECRET}\n"),
            None => String::new(),
        }
    }

    /// The story, for a terminal.
    pub(super) fn told(&self) -> String {
        let Self {
            outbound,
            ingress,
            admin,
            calcom,
            calendly,
            ..
        } = self;
        let (moved, delivered) = (self.moved(), self.delivered());
        let mut text = format!(
            "
Daypass is up, between your app and two emulated providers. Nothing here leaves this machine.

  your app ──▶ {outbound} ──▶ Cal.com {calcom} · Calendly {calendly}
  browsers and webhooks: {ingress}
  probes and metrics: {admin}/readyz · {admin}/metrics
  for a browser: {admin}/
{delivered}{moved}
alice and bob are connected at both; bob is a managed user at Cal.com. Access tokens live for one
minute here (really: hours). Keep this window open for the log, and try in another one:
"
        );
        for (nth, step) in (1..).zip(self.steps()) {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "\n{nth}. {}", step.title);
            for line in step.try_this {
                let _written = writeln!(text, "     {line}");
            }
            let _written = writeln!(text, "   {}", step.expect);
        }
        text.push_str("\nStop with Ctrl-C; nothing stays behind.\n\n");
        text
    }

    fn steps(&self) -> Vec<Step> {
        let Self {
            outbound,
            calcom,
            calendly,
            ..
        } = self;
        let get = |path: &str, user: &str| {
            format!("curl -sw '\\n' {outbound}{path} -H 'X-User-Id: {user}'")
        };
        let look = |path: &str, user: &str| {
            format!("curl -siw '\\n' {outbound}{path} -H 'X-User-Id: {user}'")
        };
        let kill = |provider: &str, user: &str| {
            format!(
                "curl -s {provider}/_sandbox/revoke -H 'Content-Type: application/json' \
                 -d '{{\"user\":\"{user}\",\"what\":\"grant\"}}'"
            )
        };
        vec![
            Step {
                title: "Say who; the token is added. No token passes through your app.",
                try_this: vec![
                    get("/calendly/users/me", "alice"),
                    get("/calcom/v2/me", "bob"),
                ],
                expect: "→ each answers for the user that was named.",
            },
            Step {
                title: "Say nobody, get nothing: a request is never sent without its token.",
                try_this: vec![
                    format!("curl -sw '\\n' {outbound}/calendly/users/me"),
                    get("/calendly/users/me", "carol"),
                ],
                expect: "→ 400 missing-user and 424 not-connected, as application/problem+json.",
            },
            Step {
                title: "Wait half a minute, then call again: the token is renewed behind your back.",
                try_this: vec![
                    get("/-/calendly/connection", "alice"),
                    format!("sleep 31; {}", get("/calendly/users/me", "alice")),
                    format!("sleep 1; {}", get("/-/calendly/connection", "alice")),
                ],
                expect: "→ the call is answered at once with the old token; `generation` is one higher.",
            },
            Step {
                title: "Somebody kills all of bob's tokens at Cal.com. Your app does not notice.",
                try_this: vec![kill(calcom, "bob"), look("/calcom/v2/me", "bob")],
                expect: "→ 200: refused, minted anew with the client's secret, replayed; `Proxy-Status` tells.",
            },
            self.connecting(),
            Step {
                title: "Alice revokes your app at Calendly. Only she can mend that, and you are told so.",
                try_this: vec![kill(calendly, "alice"), look("/calendly/users/me", "alice")],
                expect: "→ 424 needs-reauth, with `reason` and `since`. bob is not affected.",
            },
        ]
    }

    fn connecting(&self) -> Step {
        let Self {
            outbound, calendly, ..
        } = self;
        Step {
            title: "Let carol connect: a link, the provider's consent page, and she is in. Then book her.",
            try_this: vec![
                format!(
                    "curl -sw '\\n' -X POST {outbound}/-/calendly/connect-link -H 'X-User-Id: carol'"
                ),
                format!(
                    "curl -s {calendly}/_sandbox/bookings -d '{{\"action\":\"create\",\"user\":\"carol\"}}'"
                ),
            ],
            expect: "→ open `url`, consent as carol, and book: the webhook comes with her id. The log tells.",
        }
    }
}
