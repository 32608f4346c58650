//! Plays the demo's story through, as its reader would, and checks that everything happens as told.

use std::{io::Write, time::Duration};

use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use super::{inbox::Inbox, story::Story};
use crate::cli::{Error, Outcome, write};

/// Half a token's life, and a second.
const UNTIL_DUE: Duration = Duration::from_secs(31);

/// How long what is done in the background may take to show.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

/// Plays every step; fails at the first that is not as told.
#[expect(
    clippy::future_not_send,
    reason = "it writes to the standard output of its thread"
)]
pub(super) async fn through(story: &Story, inbox: &Inbox, out: &mut dyn Write) -> Outcome {
    let reader = Reader::new(story)?;
    for (path, user, mark) in [
        ("/calendly/users/me", "alice", "alice"),
        ("/calendly/users/me", "bob", "bob"),
        ("/calcom/v2/me", "bob", "bob"),
    ] {
        let (status, body) = reader.get(path, Some(user)).await?;
        let named = body.to_string().contains(mark);
        tell(
            out,
            &format!("{user} at {path}"),
            status == StatusCode::OK && named,
        )?;
    }

    let (status, body) = reader.get("/calendly/users/me", None).await?;
    tell(
        out,
        "nobody named",
        is_problem(status, 400, &body, "missing-user"),
    )?;
    let (status, body) = reader.get("/calendly/users/me", Some("carol")).await?;
    tell(
        out,
        "a stranger",
        is_problem(status, 424, &body, "not-connected"),
    )?;

    write(out, "waiting for half a token's life…\n")?;
    let before = reader.generation("alice").await?;
    tokio::time::sleep(UNTIL_DUE).await;
    let (status, _) = reader.get("/calendly/users/me", Some("alice")).await?;
    tell(
        out,
        "a token that is due is still used",
        status == StatusCode::OK,
    )?;
    tell(
        out,
        "and renewed in the background",
        reader.renewed_since(before).await?,
    )?;

    last_steps(&reader, inbox, out).await
}

/// What is done to tokens behind the app's back, and how carol comes to have some.
#[expect(
    clippy::future_not_send,
    reason = "it writes to the standard output of its thread"
)]
async fn last_steps(reader: &Reader<'_>, inbox: &Inbox, out: &mut dyn Write) -> Outcome {
    let story = reader.story;
    reader.kill(&story.calcom, "bob").await?;
    let (status, _) = reader.get("/calcom/v2/me", Some("bob")).await?;
    tell(
        out,
        "killed tokens are replaced by force",
        status == StatusCode::OK,
    )?;

    let link = reader.connect_link("carol").await?;
    let leads = format!("{}/connect/", story.ingress);
    tell(out, "a link to connect with", link.starts_with(&leads))?;
    let back = reader.consent(&link, "carol").await?;
    tell(out, "who consents is connected", back == StatusCode::OK)?;
    let arrived = reader.book_until_told("carol", inbox).await?;
    tell(out, "a booking arrives at the app", arrived)?;

    reader.kill(&story.calendly, "alice").await?;
    let (status, body) = reader.get("/calendly/users/me", Some("alice")).await?;
    tell(
        out,
        "a revoked grant needs its user",
        is_problem(status, 424, &body, "needs-reauth"),
    )?;
    let (status, _) = reader.get("/calendly/users/me", Some("bob")).await?;
    tell(out, "and nobody else", status == StatusCode::OK)
}

fn tell(out: &mut dyn Write, what: &str, as_told: bool) -> Outcome {
    if as_told {
        return write(out, &format!("  as told: {what}\n"));
    }
    Err(Error::Failed(format!("not as told: {what}")))
}

fn is_problem(status: StatusCode, expected: u16, body: &Value, slug: &str) -> bool {
    let problem = format!("urn:daypass:problem:{slug}");
    status.as_u16() == expected && body.get("type").and_then(Value::as_str) == Some(&problem)
}

/// Somebody with curl.
struct Reader<'a> {
    story: &'a Story,
    client: reqwest::Client,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn new(story: &'a Story) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(failed)?;
        Ok(Self { story, client })
    }

    async fn get(&self, path: &str, user: Option<&str>) -> Result<(StatusCode, Value), Error> {
        let mut request = self.client.get(format!("{}{path}", self.story.outbound));
        if let Some(user) = user {
            request = request.header("x-user-id", user);
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        Ok((status, answer.json().await.map_err(failed)?))
    }

    async fn connect_link(&self, user: &str) -> Result<String, Error> {
        let url = format!("{}/-/calendly/connect-link", self.story.outbound);
        let request = self.client.post(url).header("x-user-id", user);
        let answer = request.send().await.map_err(failed)?;
        let link: Value = answer.json().await.map_err(failed)?;
        let url = link.get("url").and_then(Value::as_str);
        Ok(url.unwrap_or_default().to_owned())
    }

    /// Opens `link` and consents as `user`, as a browser would; what it is shown in the end.
    async fn consent(&self, link: &str, user: &str) -> Result<StatusCode, Error> {
        let browser = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(failed)?;
        let left = browser.get(link).send().await.map_err(failed)?;
        let cookie = text(&left, header::SET_COOKIE);
        let cookie = cookie.split(';').next().unwrap_or_default();
        let form = [("decision", "approve"), ("user", user)];
        let page = browser.post(text(&left, header::LOCATION)).form(&form);
        let consented = page.send().await.map_err(failed)?;
        let callback = browser.get(text(&consented, header::LOCATION));
        let back = callback.header(header::COOKIE, cookie).send().await;
        Ok(back.map_err(failed)?.status())
    }

    /// Books `user` until the app was told: what is booked before there is a subscription is not.
    async fn book_until_told(&self, user: &str, inbox: &Inbox) -> Result<bool, Error> {
        let order = json!({ "action": "create", "user": user });
        let url = format!("{}/_sandbox/bookings", self.story.calendly);
        let deadline = tokio::time::Instant::now() + SHOWN_WITHIN;
        while tokio::time::Instant::now() < deadline {
            let booked = self.client.post(&url).json(&order).send().await;
            booked
                .and_then(reqwest::Response::error_for_status)
                .map_err(failed)?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            if inbox.has("invitee.created", user) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn generation(&self, user: &str) -> Result<u64, Error> {
        let (_, connection) = self.get("/-/calendly/connection", Some(user)).await?;
        Ok(connection
            .get("generation")
            .and_then(Value::as_u64)
            .unwrap_or_default())
    }

    async fn renewed_since(&self, generation: u64) -> Result<bool, Error> {
        let deadline = tokio::time::Instant::now() + SHOWN_WITHIN;
        while tokio::time::Instant::now() < deadline {
            if self.generation("alice").await? > generation {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(false)
    }

    async fn kill(&self, provider: &str, user: &str) -> Outcome {
        let order = json!({ "user": user, "what": "grant" });
        let url = format!("{provider}/_sandbox/revoke");
        let answer = self
            .client
            .post(url)
            .json(&order)
            .send()
            .await
            .map_err(failed)?;
        answer.error_for_status().map_err(failed)?;
        Ok(())
    }
}

fn text(answer: &reqwest::Response, name: HeaderName) -> String {
    let value = answer.headers().get(name);
    let text = value.and_then(|value| value.to_str().ok());
    text.unwrap_or_default().to_owned()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what map_err hands over"
)]
fn failed(error: reqwest::Error) -> Error {
    Error::Failed(format!("the demo did not answer: {error}"))
}
