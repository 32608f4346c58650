//! Layers and problems: which value counts, what is said of a wrong one, and what is never said.

use super::*;

#[test]
fn nothing_at_all_is_a_working_configuration() {
    let loaded = fine(file(""));
    let settings = &loaded.settings;
    assert_eq!(settings.outbound.listen.to_string(), "127.0.0.1:7420");
    assert_eq!(settings.ingress.listen.to_string(), "127.0.0.1:7421");
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:7422");
    assert_eq!(settings.refresh, token::Config::default());
    assert_eq!(settings.store.spool_dir, Path::new("daypass-spool"));
    assert!(settings.encryption.keys.is_empty());
    let names: Vec<_> = settings
        .providers
        .iter()
        .map(|p| (p.name().as_str(), p.kind()))
        .collect();
    assert_eq!(
        names,
        [("calcom", Kind::Calcom), ("calendly", Kind::Calendly)]
    );
    assert_eq!(loaded.warnings.len(), 2, "two providers without a client");
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let found = problems(file(
        "[outbound]\nlisten = \"nowhere\"\nreplay_body = 5\n\n[refresh]\nbuffer = 300\n\n[refrehs]\n",
    ));
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(
        lines[0].starts_with("daypass.toml:2: outbound.listen\n"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("daypass.toml:3")
            && lines[1].contains("did you mean `replay_body_bytes`?")
    );
    assert!(lines[2].contains("daypass.toml:6") && lines[2].contains("a number without quotes"));
    assert!(lines[3].contains("daypass.toml:8") && lines[3].contains("did you mean `refresh`?"));
}

#[test]
fn problems_read_as_a_list() {
    let text = "[refresh]\nbufer = \"5m\"\n[store]\nurl = \"memcached://h\"";
    let variables = [
        ("DAYPASS_ADMIN_LISTEN", "0.0.0.0:1"),
        ("CAL_CLIENT_SECRET", "x"),
    ];
    let all = with(text, &variables, &[]).err().unwrap();
    assert_eq!(
        all.to_string(),
        "\
the configuration has 4 problems

  daypass.toml:2: refresh.bufer
    there is no such key in [refresh]; did you mean `buffer`?

  daypass.toml:4: store.url
    expected \"sqlite:\" and the path of a file, such as \"sqlite:daypass.db\", \
\"postgres://user:password@host/database\", or \"redis://\", \"rediss://\", \"redis-cluster://\" or \
\"redis-sentinel://\" and the servers

  environment variable DAYPASS_ADMIN_LISTEN: admin.listen
    whoever reaches this listener can manage every connection: set admin.token or \
admin.token_file, or listen on a loopback address or a unix socket

  environment variable CAL_CLIENT_SECRET: providers.calcom.platform_client_secret
    is of no use without platform_client_id

  warning: providers.calcom.client_id (not set)
    neither client_id nor platform_client_id is set: tokens of this provider cannot be renewed

  warning: providers.calendly.client_id (not set)
    tokens of this provider cannot be renewed without it"
    );
}

#[test]
fn later_layers_win() {
    let text = "[refresh]\nbuffer = \"6m\"\ntimeout = \"6s\"\nkeep_alive = \"6d\"";
    let loaded = fine(with(
        text,
        &[
            ("DAYPASS_REFRESH_BUFFER", "7m"),
            ("DAYPASS_REFRESH_TIMEOUT", "7s"),
        ],
        &[("refresh.buffer", "8m")],
    ));
    assert_eq!(loaded.settings.refresh.buffer, Duration::from_mins(8));
    assert_eq!(loaded.settings.refresh.timeout, Duration::from_secs(7));
    assert_eq!(
        loaded.settings.refresh.keep_alive,
        Duration::from_hours(6 * 24)
    );
}

#[test]
fn no_message_repeats_a_value() {
    let text = format!(
        "[outbound]\nlisten = \"{SENTINEL}\"\nx = \"{SENTINEL}\"\n[admin]\ntoken = [\"{SENTINEL}\"]\n\
         [{SENTINEL}]\n[store]\nurl = \"postgres://u:{SENTINEL}@h/d\"\n[app]\nsigning_secret = \"{SENTINEL}\"\n\
         [ingress]\nallowed_return_origins = [\"{SENTINEL}\"]\n[[encryption.keys]]\nid = \"k1\"\nvalue = \"{SENTINEL}\"\n\
         [providers.calcom]\nkind = \"calcom\"\nclient_secret = \"{SENTINEL}\\nx\"\nwebhook_secret = 5\n\
         authorize_url = \"http://{SENTINEL}\"\n"
    );
    let name_of_section = "there is no such section";
    let all = file(&text).err().unwrap();
    assert!(all.problems.len() >= 10, "{all}");
    for finding in &all.problems {
        if finding.message != name_of_section {
            assert!(!finding.to_string().contains(SENTINEL), "{finding}");
        }
    }
}

#[test]
fn broken_syntax_is_shown_by_line_without_its_text() {
    let all = file(&format!(
        "[admin]\ntoken = \"{SENTINEL}\nlisten = {SENTINEL}\n"
    ))
    .err()
    .unwrap();
    assert!(all.to_string().contains("daypass.toml:2"), "{all}");
    assert!(!all.to_string().contains(SENTINEL), "{all}");
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!(json["problems"][0]["source"], "file");
    assert_eq!(json["problems"][0]["line"], 2);
}

#[test]
fn unknown_variables_only_warn() {
    let loaded = fine(variables(&[("DAYPASS_OUTBOND_LISTEN", SENTINEL)]));
    let text = loaded.warnings[2].to_string();
    assert!(text.contains("DAYPASS_OUTBOND_LISTEN") && text.contains("`DAYPASS_OUTBOUND_LISTEN`"));
    assert!(!text.contains(SENTINEL));
}

#[test]
fn what_kubernetes_sets_for_services_passes_in_silence() {
    let loaded = fine(variables(&[
        ("DAYPASS_SERVICE_HOST", "10.0.0.1"),
        ("DAYPASS_SERVICE_PORT", "7422"),
        ("DAYPASS_SERVICE_PORT_ADMIN", "7422"),
        ("DAYPASS_PORT", "tcp://10.0.0.1:7422"),
        ("DAYPASS_ADMIN_PORT_7422_TCP", "tcp://10.0.0.1:7422"),
        ("DAYPASS_ADMIN_PORT_7422_TCP_ADDR", "10.0.0.1"),
    ]));
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    let loaded = fine(variables(&[("DAYPASS_OUTBOUND_PORT", "8080")]));
    assert_eq!(loaded.warnings.len(), 3, "somebody meant a setting");
}

#[test]
fn unknown_flags_are_problems() {
    let text = problem(with("", &[], &[("outbound.listne", "127.0.0.1:1")]));
    assert!(text.contains("command line: outbound.listne") && text.contains("`outbound.listen`"));
}

#[test]
fn names_that_apps_already_use_count_least() {
    let names = [
        ("NEXT_PUBLIC_CAL_CLIENT_ID", "platform"),
        ("CAL_CLIENT_SECRET", "hidden"),
        ("CALENDLY_OAUTH_CLIENT_ID", "id"),
        ("CALENDLY_OAUTH_CLIENT_SECRET", "hidden too"),
        ("CALENDLY_OAUTH_REDIRECT_URI", "https://app.example.org/cb"),
    ];
    let loaded = fine(variables(&names));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(
        calcom(&loaded).platform_client_id.as_deref(),
        Some("platform")
    );
    assert_eq!(
        exposed(calcom(&loaded).platform_client_secret.as_ref()),
        "hidden"
    );
    assert_eq!(
        exposed(calendly(&loaded).client_secret.as_ref()),
        "hidden too"
    );
    assert_eq!(
        calendly(&loaded).redirect_uri.as_ref().unwrap().host_str(),
        Some("app.example.org")
    );
    let text = "[providers.calendly]\nkind = \"calendly\"\nclient_id = \"from the file\"";
    let loaded = fine(with(text, &names, &[]));
    assert_eq!(
        calendly(&loaded).client_id.as_deref(),
        Some("from the file")
    );
}

#[test]
fn a_named_file_must_exist() {
    let request = Request {
        file: Some("/nowhere/daypass.toml".into()),
        overrides: Vec::new(),
    };
    let problems = load(&request, &Environment::default()).err().unwrap();
    assert!(problems.to_string().contains("/nowhere/daypass.toml"));
    let environment = [(FILE_VARIABLE, "/nowhere/else.toml")]
        .into_iter()
        .collect();
    let problems = load(&Request::default(), &environment).err().unwrap();
    assert!(
        problems.to_string().contains("DAYPASS_CONFIG"),
        "{problems}"
    );
}

proptest! {
    #[test]
    fn no_file_makes_the_loader_panic(text in "(\\[|\\]|=|\"|\\.|\n|[a-z_]{1,8}|[0-9]|outbound|providers){0,40}") {
        let _ = file(&text);
    }
}
