//! The witness on a way to a provider: which process sent which refresh token, and got what.

use std::sync::Arc;

use daypass::sandbox::token_id;
use serde_json::Value;

use crate::{
    chronicle::{Answer, Chronicle, Sending, Who, now},
    place::Place,
    way::{Direction, Event, Witness, Witnesses},
};

/// More than any token call.
const LONGEST: usize = 64 * 1024;

/// Watches one connection.
struct Eyewitness {
    who: Who,
    chronicle: Arc<Chronicle>,
    question: Message,
    answer: Message,
    passed: usize,
    /// Where the call is noted, if it redeems a refresh token.
    noted: Option<usize>,
    client_left: bool,
}

/// What one side has said so far.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
    is_whole: bool,
}

/// Witnesses of the calls from `place`.
pub(crate) fn of(place: &Arc<Place>, chronicle: &Arc<Chronicle>) -> Witnesses {
    let (place, chronicle) = (Arc::clone(place), Arc::clone(chronicle));
    Arc::new(move || {
        Box::new(Eyewitness {
            who: Who {
                place: place.number,
                life: place.life(),
            },
            chronicle: Arc::clone(&chronicle),
            question: Message::default(),
            answer: Message::default(),
            passed: 0,
            noted: None,
            client_left: false,
        })
    })
}

impl Witness for Eyewitness {
    fn sees(&mut self, event: Event<'_>) {
        match event {
            Event::Read(Direction::Question, []) => self.client_left = true,
            Event::Read(Direction::Question, bytes) => {
                if self.question.takes(bytes) {
                    self.asked();
                }
            }
            Event::Read(Direction::Answer, bytes) => {
                if self.noted.is_some() && self.answer.takes(bytes) {
                    self.answered();
                }
            }
            Event::Passed(Direction::Answer, bytes) => {
                self.passed += bytes.len();
                if self.answer.is_whole && self.passed >= self.answer.bytes.len() {
                    self.delivered();
                }
            }
            Event::Passed(Direction::Question, _) => {}
            Event::Ended => self.note(|call| call.ended = Some(now())),
        }
    }
}

// === impl Eyewitness ===

impl Eyewitness {
    fn note(&self, change: impl FnOnce(&mut Sending)) {
        if let Some(noted) = self.noted {
            self.chronicle
                .with(|events| change(&mut events.sendings[noted]));
        }
    }

    fn asked(&mut self) {
        let Some(token) = redeemed(&self.question) else {
            return;
        };
        let sending = Sending {
            who: self.who,
            token: token_id(&token),
            at: now(),
            answer: None,
            delivered: None,
            ended: None,
        };
        self.noted = Some(self.chronicle.with(|events| {
            events.sendings.push(sending);
            events.sendings.len() - 1
        }));
    }

    fn answered(&self) {
        let answer = Answer {
            minted: minted(&self.answer),
        };
        self.note(|call| call.answer = Some(answer));
    }

    fn delivered(&self) {
        if !self.client_left {
            self.note(|call| {
                call.delivered.get_or_insert_with(now);
            });
        }
    }
}

// === impl Message ===

impl Message {
    /// Whether `bytes` completed it.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        if self.is_whole || self.bytes.len() > LONGEST {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        self.is_whole = self.head().is_some_and(|head| {
            let length = field(head, "content-length").and_then(|text| text.parse().ok());
            self.bytes.len() >= head.len() + 4 + length.unwrap_or(0_usize)
        });
        self.is_whole
    }

    fn head(&self) -> Option<&str> {
        let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        str::from_utf8(&self.bytes[..end]).ok()
    }

    fn first_line(&self) -> &str {
        let head = self.head().unwrap_or_default();
        head.lines().next().unwrap_or_default()
    }

    fn body(&self) -> &[u8] {
        let head = self.head().map_or(0, |head| head.len() + 4);
        &self.bytes[head..]
    }
}

/// The value of a header field.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The refresh token that a request redeems, if that is what it does.
fn redeemed(question: &Message) -> Option<String> {
    let line = question.first_line();
    if line.starts_with("POST /oauth/token ") {
        let form = url::form_urlencoded::parse(question.body());
        return form
            .into_iter()
            .find(|(name, _)| name == "refresh_token")
            .map(|(_, token)| token.into_owned());
    }
    let is_managed = line.starts_with("POST /v2/oauth/") && line.contains("/refresh ");
    let body: Value = is_managed.then(|| serde_json::from_slice(question.body()).ok())??;
    body["refreshToken"].as_str().map(ToOwned::to_owned)
}

/// The refresh token that an answer brings, if it brings an access token too.
fn minted(answer: &Message) -> Option<String> {
    let body: Value = serde_json::from_slice(answer.body()).ok()?;
    let (keys, access, refresh) = match &body["data"] {
        Value::Null => (&body, "access_token", "refresh_token"),
        keys => (keys, "accessToken", "refreshToken"),
    };
    keys[access].as_str()?;
    keys[refresh].as_str().map(token_id)
}
