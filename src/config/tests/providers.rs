//! Providers, and the rules for calls to them.

use super::*;

#[test]
fn a_provider_is_made_by_its_kind_in_any_layer() {
    let loaded = fine(variables(&[
        ("DAYPASS_PROVIDERS_CALCOM_EU_KIND", "calcom"),
        ("DAYPASS_PROVIDERS_CALCOM_EU_API_BASE", "https://api.cal.eu"),
        ("DAYPASS_PROVIDERS_CALCOM_EU_CLIENT_ID", "id"),
    ]));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.settings.providers.len(), 1);
    let config = calcom(&loaded);
    assert_eq!(config.name.as_str(), "calcom-eu");
    assert_eq!(
        config.authorize_url.as_str(),
        "https://app.cal.eu/auth/oauth2/authorize"
    );
    assert_eq!(
        config.token_url.as_str(),
        "https://api.cal.eu/v2/auth/oauth2/token"
    );
}

#[test]
fn providers_that_make_no_sense_are_refused() {
    for (text, word) in [
        ("[providers.calcom]", "is missing"),
        (
            "[providers.calcom]\nkind = \"calcm\"",
            "did you mean `calcom`?",
        ),
        ("[providers.Cal]\nkind = \"calcom\"", "a-z"),
        (
            "[providers.a]\nkind = \"calcom\"\napi_base = \"http://api.cal.com\"",
            "https",
        ),
        (
            "[providers.a]\nkind = \"calcom\"\nclient_id = \"x\"\nplatform_client_secret = \"x\"",
            "platform_client_id",
        ),
        (
            "[providers.a]\nkind = \"calendly\"\nclient_secret = \"x\"",
            "client_id",
        ),
        (
            "[providers.a]\nkind = \"calendly\"\nauthorize_params = { state = \"x\" }",
            "Daypass sends itself",
        ),
        (
            "[providers.a]\nkind = \"calendly\"\napi_version = \"2024-08-13\"",
            "no such key",
        ),
        (
            "[providers.a]\nkind = \"calcom\"\nwebhook_secret = \"no-secret-provided\"",
            "without a secret",
        ),
        ("[providers]\na = 5", "expected a table"),
        ("providers = 5", "expected tables"),
    ] {
        let found = problems(file(text));
        assert!(
            found
                .iter()
                .any(|problem| problem.to_string().contains(word)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn scopes_that_calendly_does_not_document_are_doubted() {
    let text =
        "[providers.calendly]\nkind = \"calendly\"\nscope = \"users:read scheduled_event:read\"";
    let loaded = fine(file(text));
    let doubted = loaded
        .warnings
        .iter()
        .find(|warning| warning.key.ends_with("scope"))
        .unwrap();
    assert!(
        doubted.message.contains("`scheduled_events:read`"),
        "{doubted}"
    );
    assert_eq!(
        calendly(&loaded).authorize_params,
        [("prompt".to_owned(), "consent".to_owned())]
    );
    let off = fine(file(
        "[providers.a]\nkind = \"calendly\"\nauthorize_params = {}",
    ));
    assert!(calendly(&off).authorize_params.is_empty());
}

#[test]
fn a_policy_is_read_with_its_provider_and_every_problem_of_it_is_told() {
    let loaded = fine(file(
        "[providers.calendly]\nkind = \"calendly\"\n[providers.calendly.policy]\n\
         allow = [\"GET /users/me\", \"GET|POST /scheduled_events*\"]\nmode = \"observe\"\n\
         [providers.calendly.limits]\nper_user = \"60/m\"\n",
    ));
    let policies = &loaded.settings.outbound.policies;
    let (_, policy) = policies.first_key_value().unwrap();
    let rules: Vec<String> = policy.allow.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["GET /users/me", "GET|POST /scheduled_events*"]);
    assert_eq!(policy.mode, proxy::Mode::Observe);
    assert_eq!(policy.limits.mode, proxy::Mode::Enforce);
    assert_eq!(policy.limits.per_user.unwrap().calls.get(), 60);

    let found = problems(file(
        "[providers.calendly]\nkind = \"calendly\"\n[providers.calendly.policy]\n\
         allow = [\"/users/me\"]\nmood = \"observe\"\n[providers.calendly.limits]\nper_user = \"60\"\n",
    ));
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "providers.calendly.policy.allow",
            "providers.calendly.policy.mood",
            "providers.calendly.limits.per_user"
        ]
    );
}

#[test]
fn a_list_that_the_app_can_go_around_is_a_warning() {
    let listed = ("providers.calendly.policy.allow", "GET /users/me");
    let kind = ("providers.calendly.kind", "calendly");
    let warned = |overrides: &[(&str, &str)]| {
        let loaded = fine(with("", &[], overrides));
        let mut keys = loaded.warnings.iter().map(|warning| warning.key.clone());
        keys.any(|key| key == "providers.calendly.policy.allow")
    };
    assert!(!warned(&[kind, listed]));
    assert!(warned(&[kind, listed, ("outbound.token_reads", "true")]));
}
