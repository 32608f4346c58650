//! `connections import`: both known exports, in both formats, with their flaws.

use serde_json::{Value, json};

use crate::{binary::Home, emulators::Emulators};

const CALENDAR_INTEGRATION: &str = "\
userUlid,calAccessToken,calRefreshToken,calAccessTokenExpiresAt,calManagedUserId
u_1,at-1-secret,rt-1-secret,2030-01-01T00:00:00Z,11
u_2,,,,12
u_3,,,,
";

const CALENDAR_CONNECTIONS: &str = concat!(
    r#"{"user_id":"u_1","provider":"calendly","access_token":"at-2-secret","refresh_token":"rt-2-secret","calendly_user_uri":"https://api.calendly.com/users/A","calendly_organization_uri":"https://api.calendly.com/organizations/B","is_active":true}"#,
    "\n",
    r#"{"user_id":"u_4","provider":"calendly","access_token":"at-4-secret","refresh_token":null,"is_active":false}"#,
    "\n",
);

fn list(home: &Home) -> Value {
    home.run(&["connections", "list", "--json"]).fine().json()
}

#[test]
fn calendar_integration_is_imported_from_a_csv_file() {
    let home = Home::new();
    home.write("export.csv", CALENDAR_INTEGRATION);
    let answer = home.run(&["connections", "import", "export.csv"]).fine();
    assert!(
        answer
            .out
            .starts_with("2 created, 0 replaced, 0 unchanged, 1 skipped")
    );
    assert!(answer.err.contains("made a key file"), "{answer:?}");
    let rows = list(&home);
    assert_eq!(rows[0]["user"], "u_1");
    assert_eq!(rows[0]["managed_user_id"], 11);
    assert_eq!(rows[0]["expires_at"], "2030-01-01T00:00:00Z");
    assert_eq!(rows[1]["managed_user_id"], 12);
    assert_eq!(rows[1]["generation"], 0, "its first request mints tokens");
    assert!(!rows.to_string().contains("secret"));
}

#[test]
fn calendar_connections_are_imported_from_json_lines_on_standard_input() {
    let home = Home::new();
    let import = ["connections", "import", "--json"];
    let answer = home.run_with(&import, CALENDAR_CONNECTIONS).fine().json();
    assert_eq!(
        (&answer["created"], &answer["skipped"]),
        (&json!(1), &json!(1))
    );
    let row = &list(&home)[0];
    assert_eq!(row["external_id"], "https://api.calendly.com/users/A");
    assert_eq!(
        row["organization"],
        "https://api.calendly.com/organizations/B"
    );
}

#[test]
fn the_other_formats_of_both_exports_do_as_well() {
    let home = Home::new();
    let jsonl = r#"{"userUlid":"u_1","calAccessToken":"a","calRefreshToken":"r","calAccessTokenExpiresAt":null,"calManagedUserId":7}"#;
    home.run_with(&["connections", "import", "-", "--format", "jsonl"], jsonl)
        .fine();
    let csv = "user_id,provider,access_token,refresh_token,calendly_user_uri,calendly_organization_uri,is_active\n\
               u_2,calendly,a2,r2,,,t\nu_3,calendly,a3,r3,,,f\n";
    home.run_with(&["connections", "import"], csv).fine();
    let rows = list(&home);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[0]["provider"], "calcom");
    assert_eq!(rows[1]["provider"], "calendly");
}

#[test]
fn bad_lines_are_told_by_number_and_the_good_ones_are_in() {
    let home = Home::new();
    let csv = "user,provider,access_token\n\
               u_1,calendly,a1-secret\n\
               u 2,calendly,a2-secret\n\
               u_3,calendlyy,a3-secret\n\
               u_4,calendly\n\
               u_5,calendly,a5-secret\n";
    let import = ["connections", "import"];
    let answer = home.run_with(&import, csv).fails(1, &["3 of the lines"]);
    assert!(answer.out.starts_with("2 created"), "{answer:?}");
    for text in [
        "line 3: ",
        "line 4: no provider",
        "did you mean `calendly`?",
        "line 5: ",
    ] {
        assert!(answer.out.contains(text), "no {text} in {}", answer.out);
    }
    assert!(!format!("{answer:?}").contains("secret"));
    let again = home.run_with(&["connections", "import", "--json"], csv);
    let again = again.fails(1, &[]);
    assert_eq!(again.json()["unchanged"], 2);
    assert_eq!(again.json()["problems"][0]["line"], 3);
    assert!(again.error()["error"].is_string());
}

#[test]
fn a_dry_run_reads_everything_and_makes_nothing() {
    let home = Home::new();
    let import = ["connections", "import", "--dry-run"];
    let answer = home.run_with(&import, CALENDAR_INTEGRATION).fine();
    assert!(
        answer
            .out
            .starts_with("Nothing was imported: 2 good, 1 skipped")
    );
    assert!(!home.path("daypass.db").exists() && !home.path("daypass.key").exists());
}

#[test]
fn what_cannot_be_read_or_meant_is_refused_before_anything_is_made() {
    let home = Home::new();
    home.run(&["connections", "import", "nowhere.csv"])
        .fails(1, &["nowhere.csv cannot be read", "No such file"]);
    home.run(&["connections", "import", "--provider", "calcmo"])
        .fails(
            2,
            &["there are: calcom, calendly", "did you mean `calcom`?"],
        );
    assert!(!home.path("daypass.db").exists());
    home.run_with(&["connections", "import"], "id,token\n1,a\n")
        .fails(1, &["1 of the lines"]);
}

#[test]
fn a_repeated_import_never_undoes_a_rotation_unless_told_to() {
    let home = Home::new();
    let emulators = Emulators::start(&home);
    emulators.configure(&home);
    let carol = emulators.at_calendly("carol");
    let row = format!(
        "user,provider,access_token,refresh_token\nu_c,calendly,{},{}\n",
        carol["access_token"].as_str().unwrap(),
        carol["refresh_token"].as_str().unwrap()
    );
    let import = ["connections", "import", "--json"];
    assert_eq!(home.run_with(&import, &row).fine().json()["created"], 1);
    let refresh = ["connections", "refresh", "calendly", "u_c", "--json"];
    assert_eq!(home.run(&refresh).fine().json()["generation"], 2);

    let again = home.run_with(&import, &row).fine().json();
    assert_eq!(
        (&again["unchanged"], &again["replaced"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(list(&home)[0]["generation"], 2);

    let replace = [&import[..], &["--replace"]].concat();
    assert_eq!(home.run_with(&replace, &row).fine().json()["replaced"], 1);
    assert_eq!(list(&home)[0]["generation"], 3);
}

#[test]
fn many_lines_are_imported_in_batches_and_many_bad_ones_are_told_in_part() {
    use std::fmt::Write;
    let home = Home::new();
    let mut csv = "user,provider,access_token\n".to_owned();
    for nth in 0..1300 {
        writeln!(csv, "u_{nth},calendly,a{nth}\nu {nth},calendly,a").unwrap();
    }
    home.write("many.csv", &csv);
    let import = ["connections", "import", "many.csv", "--json"];
    let answer = home.run(&import).fails(1, &["1300 of the lines"]).json();
    assert_eq!(
        (&answer["created"], &answer["bad"]),
        (&json!(1300), &json!(1300))
    );
    assert_eq!(answer["problems"].as_array().unwrap().len(), 1000);
    let some = home
        .run(&["connections", "list", "--limit", "3"])
        .fine()
        .out;
    assert_eq!(some.lines().count(), 5, "{some}");
    assert!(some.ends_with("--limit N shows more.\n"), "{some}");
}
