//! Reading what was rendered.

use serde_json::Value;

pub(crate) fn kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|it| it["kind"] == kind).collect()
}

pub(crate) fn one<'a>(documents: &'a [Value], wanted: &str) -> &'a Value {
    let found = kind(documents, wanted);
    assert_eq!(found.len(), 1, "{wanted} in {documents:#?}");
    found[0]
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The containers of a pod, init containers first.
pub(crate) fn containers(pod: &Value) -> Vec<&Value> {
    let init = list(&pod["initContainers"]);
    init.iter().chain(list(&pod["containers"])).collect()
}

pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = containers(pod);
    let found: Vec<_> = all.into_iter().filter(|it| it["name"] == name).collect();
    assert_eq!(found.len(), 1, "{name} in {pod:#}");
    found[0]
}

pub(crate) fn names(values: &[Value]) -> Vec<&str> {
    values
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect()
}

/// Whether every label of `selector` is one of `labels`.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value)
}
