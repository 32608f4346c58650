//! `/delivery`: one delivery, and what its event says.
//!
//! What an event says is personal data of people who book. It is for those who have logged in, and so
//! for nobody where no admin token is configured; each look at it leaves a record.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
};
use http::StatusCode;

use super::{
    Room,
    connection::notice,
    connections::href,
    deliveries::Line,
    door::Visitor,
    fields::Fields,
    show::{self, Answer},
    templates,
};
use crate::{
    admin::{
        Trouble,
        api::DeliveryView,
        audit::{Action, Order},
    },
    store::Claimed,
};

/// How much of a payload is shown, in bytes; it is laid out anew, which makes it longer.
const MAX_SHOWN: usize = 256 * 1024;

/// `GET /delivery`
pub(super) async fn page(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_query(&request);
    let view: DeliveryView = room.one(&fields).await?.delivery.into();
    let line = Line::of(&room, &view);
    let id = view.id.to_string();
    let title = format!("Delivery {id}");
    let page = templates::Delivery {
        frame: room
            .frame(visitor, "deliveries", title)
            .with_notice(notice(&fields))
            .live(),
        webhook_id: view.webhook_id,
        event: view.event.to_string(),
        first_tried: view.first_tried_at.map(|at| room.moment(at)),
        payload: visitor
            .session
            .map(|_| href("/delivery/payload", &[("id", &id)], &[])),
        line,
    };
    Ok(show::page(StatusCode::OK, &page))
}

/// `GET /delivery/payload`
pub(super) async fn payload(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    if visitor.session.is_none() {
        return Err(Trouble::NoAdminToken.into());
    }
    let found = room.one(&Fields::of_query(&request)).await?;
    let view: DeliveryView = found.delivery.clone().into();
    let order = Order::to(Action::ShowPayload)
        .about_some(Some(view.provider.clone()), view.user.clone())
        .with(format!("delivery {}", view.id));
    let payloads = room.payloads.clone();
    let opening = async move { Ok(payloads.body(&found)?) };
    let body = room
        .api
        .audited(visitor.actor(), order, opening, |_| None)
        .await?;
    let (text, is_cut) = laid_out(&body);
    let page = templates::Payload {
        frame: room.frame(visitor, "deliveries", format!("Payload of {}", view.id)),
        line: Line::of(&room, &view),
        bytes: body.len(),
        text,
        is_cut,
    };
    Ok(show::page(StatusCode::OK, &page))
}

// === impl Room ===

impl Room {
    async fn one(&self, fields: &Fields) -> Result<Claimed, Trouble> {
        let id = fields.ids()?.first().copied();
        self.api.delivery(id.ok_or(Trouble::UnknownDelivery)?).await
    }
}

/// JSON with a line for each member, in its own order and with its own numbers; anything else as it is.
fn laid_out(body: &[u8]) -> (String, bool) {
    let is_cut = body.len() > MAX_SHOWN;
    let shown = body.get(..MAX_SHOWN).unwrap_or(body);
    let text = String::from_utf8_lossy(shown);
    let is_json = !is_cut && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    if !is_json {
        return (text.into_owned(), is_cut);
    }
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if in_string {
            out.push(character);
            in_string = escaped || character != '"';
            escaped = character == '\\' && !escaped;
            continue;
        }
        match character {
            '{' | '[' => {
                out.push(character);
                while characters.next_if(|next| next.is_whitespace()).is_some() {}
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(character);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                out.push(character);
                in_string = true;
            }
            other if other.is_whitespace() => {}
            other => out.push(other),
        }
    }
    (out, is_cut)
}

/// Deeper than this nobody reads.
const DEEPEST: usize = 40;

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth.min(DEEPEST)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn laying_out_changes_nothing_but_the_space(value in value()) {
            for text in [value.to_string(), format!("{value:#}")] {
                let (out, is_cut) = laid_out(text.as_bytes());
                prop_assert!(!is_cut);
                prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), value.clone());
                prop_assert_eq!(out, laid_out(value.to_string().as_bytes()).0);
            }
        }

        #[test]
        fn what_is_no_json_is_shown_as_it_is(text in "[a-z ]{0,20}x") {
            prop_assert_eq!(laid_out(text.as_bytes()), (text, false));
        }
    }

    #[test]
    fn members_keep_their_order_and_numbers_their_digits() {
        let (out, _) = laid_out(br#"{"b":1.10,"a":[],"c":{"d":"x\"}{"}}"#);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(
            lines,
            [
                "{",
                "  \"b\": 1.10,",
                "  \"a\": [],",
                "  \"c\": {",
                "    \"d\": \"x\\\"}{\"",
                "  }",
                "}"
            ]
        );
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = vec![b'a'; MAX_SHOWN + 1];
        let (out, is_cut) = laid_out(&long);
        assert_eq!((out.len(), is_cut), (MAX_SHOWN, true));
    }
}
