//! Fields of a provider's JSON, read leniently: what is missing or of another type is `None`.

use serde_json::Value;
use url::Url;

use crate::base::clock::Timestamp;

/// Text that is not empty. `pointer` is of RFC 6901.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value
        .pointer(pointer)?
        .as_str()
        .filter(|text| !text.is_empty())
}

/// An id, written as text or as a number.
pub(super) fn id(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// A point in time, in RFC 3339.
pub(super) fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    Timestamp::parse(text(value, pointer)?)
}

/// The entries of a list; none if there is no list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    match value.pointer(pointer) {
        Some(Value::Array(entries)) => entries,
        _ => &[],
    }
}

/// The texts in a list.
pub(super) fn texts<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    list(value, pointer).iter().filter_map(Value::as_str)
}

/// A link that a browser may follow.
pub(super) fn link(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    ["http", "https"]
        .contains(&url.scheme())
        .then(|| text.to_owned())
}

/// Whether two texts are the same address on the web.
pub(super) fn same_url(text: &str, url: &Url) -> bool {
    Url::parse(text).is_ok_and(|other| other == *url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_of_another_type_is_not_there() {
        let value = json!({"a": {"b": "", "n": 7, "t": "x"}, "l": ["p", 1], "at": "soon"});
        assert_eq!(text(&value, "/a/t"), Some("x"));
        assert_eq!(text(&value, "/a/b"), None);
        assert_eq!(text(&value, "/a/n"), None);
        assert_eq!(id(&value, "/a/n").as_deref(), Some("7"));
        assert_eq!(id(&value, "/a"), None);
        assert_eq!(time(&value, "/at"), None);
        assert_eq!(texts(&value, "/l").collect::<Vec<_>>(), ["p"]);
        assert!(list(&value, "/a").is_empty());
    }

    #[test]
    fn only_web_addresses_are_links() {
        assert!(link("https://meet.example.org/x").is_some());
        for other in ["javascript:alert(1)", "integrations:daily", "+49 30", ""] {
            assert_eq!(link(other), None, "{other}");
        }
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        let url = Url::parse("https://hooks.example.org/webhooks/x").unwrap();
        assert!(same_url("https://HOOKS.example.org:443/webhooks/x", &url));
        assert!(!same_url("https://hooks.example.org/webhooks/y", &url));
    }
}
