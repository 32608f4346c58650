//! Long lists in pages.
//!
//! 1. A page has at most `limit` items, and says where the next one begins, if there is one. What is
//!    added or removed meanwhile makes no other item come twice or not at all.
//! 2. A cursor is opaque to callers: where the page ended, and of which list. What is none, or that of
//!    another list, is refused; it is nothing that anybody must not know.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Trouble;

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(super) struct Page<T> {
    /// In the order of the list.
    pub(super) items: Vec<T>,
    /// Where the next page begins; `null` after the last.
    pub(super) next_cursor: Option<String>,
}

/// How many items a page has at most: 1 to 200, by default 50.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Limit(usize);

/// Where a page of a list ends.
pub(super) trait Place: Serialize + DeserializeOwned {
    /// Which list.
    const LIST: &'static str;
}

/// The longest cursor: meetings have the longest ids.
pub(super) const MAX_CURSOR: usize = 4096;

const USUAL: usize = 50;
const MOST: u64 = 200;

// === impl Limit ===

impl Default for Limit {
    fn default() -> Self {
        Self(USUAL)
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How many items the page has at most.",
            "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL,
        })
    }
}

impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl TryFrom<u64> for Limit {
    type Error = String;

    fn try_from(limit: u64) -> Result<Self, Self::Error> {
        match usize::try_from(limit) {
            Ok(fits) if (1..=MOST).contains(&limit) => Ok(Self(fits)),
            _ => Err(format!("a page has 1 to {MOST} items")),
        }
    }
}

impl Limit {
    /// So many, as the code asks for.
    pub(super) const fn of(limit: usize) -> Self {
        Self(limit)
    }

    /// How many to ask for: one more tells whether there is another page.
    pub(super) const fn and_one(self) -> usize {
        self.0 + 1
    }
}

// === impl Page ===

impl<T> Page<T> {
    /// What was `found` when [`Limit::and_one`] were asked for.
    pub(super) fn of<F, P: Place>(
        mut found: Vec<F>,
        limit: Limit,
        place: impl Fn(&F) -> P,
        view: impl Fn(F) -> T,
    ) -> Self {
        let is_last = found.len() <= limit.0;
        found.truncate(limit.0);
        let end = found.last().filter(|_| !is_last);
        Self {
            next_cursor: end.map(|last| cursor(&place(last))),
            items: found.into_iter().map(view).collect(),
        }
    }
}

/// As callers get it.
pub(super) fn cursor<P: Place>(place: &P) -> String {
    let text = serde_json::to_vec(&(P::LIST, place)).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(text)
}

/// The reverse of [`cursor`].
pub(super) fn place<P: Place>(cursor: Option<&str>) -> Result<Option<P>, Trouble> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    read(cursor).map(Some).ok_or(Trouble::Cursor)
}

fn read<P: Place>(cursor: &str) -> Option<P> {
    if cursor.len() > MAX_CURSOR {
        return None;
    }
    let text = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (list, place): (String, P) = serde_json::from_slice(&text).ok()?;
    (list == P::LIST).then_some(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Number(u64);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Other(u64);

    impl Place for Number {
        const LIST: &'static str = "numbers";
    }

    impl Place for Other {
        const LIST: &'static str = "others";
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(number: u64) {
            let cursor = cursor(&Number(number));
            prop_assert_eq!(place(Some(&cursor)).ok().flatten(), Some(Number(number)));
        }

        #[test]
        fn anything_else_is_refused(text: String) {
            prop_assert!(place::<Number>(Some(&text)).is_err());
        }

        #[test]
        fn so_is_anything_else_in_base64(bytes: Vec<u8>) {
            let text = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert!(place::<Number>(Some(&text)).is_err());
        }
    }

    #[test]
    fn the_cursor_of_another_list_is_refused() {
        assert!(place::<Number>(Some(&cursor(&Other(7)))).is_err());
    }

    #[test]
    fn a_page_says_where_the_next_begins_only_if_there_is_one() {
        let page = |count: u64| {
            let limit = Limit::try_from(3).unwrap();
            Page::of((0..count).collect(), limit, |last| Number(*last), |n| n)
        };
        assert_eq!((page(3).items.len(), page(3).next_cursor), (3, None));
        assert_eq!(page(4).items, [0, 1, 2]);
        let next = page(4).next_cursor.unwrap();
        assert_eq!(place(Some(&next)).ok().flatten(), Some(Number(2)));
    }

    #[test]
    fn a_page_is_neither_empty_nor_endless() {
        assert!(Limit::try_from(0).is_err() && Limit::try_from(201).is_err());
        assert!(Limit::try_from(1).is_ok() && Limit::try_from(200).is_ok());
    }
}
