//! Listeners, times and headers that cannot be, or that must be meant.

use super::*;

#[test]
fn an_open_outbound_listener_must_be_meant() {
    let open = "[outbound]\nlisten = \"0.0.0.0:7420\"";
    assert!(problem(file(open)).contains("allow_remote"));
    fine(file(&format!("{open}\nallow_remote = true")));
}

#[test]
fn an_open_admin_listener_needs_a_token() {
    let open = "[admin]\nlisten = \"0.0.0.0:7422\"";
    assert!(problem(file(open)).contains("admin.token"));
    fine(with(open, &[("DAYPASS_ADMIN_TOKEN", "secret")], &[]));
}

#[test]
fn listeners_may_be_sockets_names_of_this_host_or_any_port() {
    let loaded = fine(file(
        "[outbound]\nlisten = \"unix:/run/daypass.sock\"\n[ingress]\nlisten = \"localhost:0\"\n[admin]\nlisten = \"127.0.0.1:0\"",
    ));
    assert_eq!(
        loaded.settings.outbound.listen,
        Listen::Unix("/run/daypass.sock".into())
    );
    assert_eq!(loaded.settings.ingress.listen.to_string(), "127.0.0.1:0");
    assert!(problem(file("[outbound]\nlisten = \"daypass.local:7420\"")).contains("numeric"));
    assert!(problem(file("[outbound]\nlisten = \"unix:run.sock\"")).contains("absolute"));
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let text = problem(file("[ingress]\nlisten = \"127.0.0.1:7420\""));
    assert!(text.contains("outbound.listen"), "{text}");
}

#[test]
fn times_that_contradict_each_other_are_refused() {
    for (text, word) in [
        ("min_validity = \"5m\"", "refresh.buffer"),
        ("cooldown = \"6m\"", "refresh.cooldown_max"),
        ("timeout = \"0s\"", "longer than zero"),
    ] {
        assert!(
            problem(file(&format!("[refresh]\n{text}"))).contains(word),
            "{text}"
        );
    }
}

#[test]
fn a_token_call_may_take_longer_than_a_lease() {
    fine(file("[refresh]\ntimeout = \"90s\"\nlease_ttl = \"30s\""));
}

#[test]
fn the_user_header_may_not_be_one_with_a_meaning() {
    for taken in [
        "authorization",
        "Cookie",
        "connection",
        "x-forwarded-for",
        "not a header",
    ] {
        problem(file(&format!("[outbound]\nuser_header = \"{taken}\"")));
    }
    fine(file("[outbound]\nuser_header = \"X-Acting-User\""));
}

#[test]
fn a_log_level_with_a_slip_in_it_is_not_taken_for_a_target() {
    assert!(problem(file("[telemetry]\nlog = \"inof\"")).contains("did you mean `info`?"));
    fine(file("[telemetry]\nlog = \"info,daypass::token=debug\""));
}
