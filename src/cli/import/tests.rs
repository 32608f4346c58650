//! Exports in all shapes, and what is wrong with others.

use proptest::prelude::*;

use super::*;

/// A value that no message may repeat.
const SENTINEL: &str = "s3ntinel-token";

fn read(input: &str) -> Vec<Result<Entry, LineProblem>> {
    Rows::new(input.as_bytes(), Options::default()).collect()
}

fn rows(input: &str) -> Vec<ImportRow> {
    let row = |entry: Result<Entry, LineProblem>| match entry {
        Ok(Entry::Row(row)) => row,
        Ok(Entry::Skipped { line, reason }) => panic!("line {line} was skipped: {reason}"),
        Err(problem) => panic!("{problem}"),
    };
    read(input).into_iter().map(row).collect()
}

/// The entries as short texts.
fn outcome(input: &str) -> Vec<String> {
    let short = |entry: Result<Entry, LineProblem>| match entry {
        Ok(Entry::Row(row)) => format!("{} {}/{}", row.line, row.provider, row.user),
        Ok(Entry::Skipped { line, reason }) => format!("{line} skipped: {reason}"),
        Err(problem) => problem.to_string(),
    };
    read(input).into_iter().map(short).collect()
}

fn exposed(secret: Option<&Secret<String>>) -> &str {
    secret.unwrap().danger_expose()
}

#[test]
fn a_prisma_export_is_read_as_csv() {
    let rows = rows(
        "\u{feff}id,userUlid,calAccessToken,calRefreshToken,calAccessTokenExpiresAt,calManagedUserId\r\n\
         1,u_1,\"a.b.c\",r1,2026-11-21 05:36:03,17\r\n\
         \r\n\
         2,u_2,,,NULL,18\r\n",
    );
    assert_eq!(rows[0].provider.as_str(), "calcom");
    assert_eq!(rows[0].user.as_str(), "u_1");
    assert_eq!(exposed(rows[0].access.as_ref()), "a.b.c");
    assert_eq!(exposed(rows[0].refresh.as_ref()), "r1");
    assert_eq!(
        rows[0].expiry,
        Some(Expiry::At(Timestamp::from_secs(1_795_239_363)))
    );
    assert_eq!(rows[0].account.managed_user_id, Some(17));
    assert_eq!(
        (rows[1].line, rows[1].account.managed_user_id),
        (4, Some(18))
    );
    assert!(rows[1].access.is_none() && rows[1].expiry.is_none());
}

#[test]
fn calendar_connections_are_read_as_json_lines() {
    let input = "{\"user_id\":\"u_1\",\"provider\":\"Calendly\",\"access_token\":\"a\",\"refresh_token\":\"r\",\
                 \"calendly_user_uri\":\"https://api.calendly.com/users/U\",\"calendly_organization_uri\":\"o\",\
                 \"is_active\":true,\"settings\":{\"x\":[1]}}\n\
                 {\"user_id\":\"u_2\",\"provider\":\"calendly\",\"access_token\":\"a\",\"is_active\":false}\n";
    let entries = read(input);
    let Ok(Entry::Row(row)) = &entries[0] else {
        panic!("a row")
    };
    assert_eq!(row.provider.as_str(), "calendly");
    assert_eq!(
        row.account.external_id.as_deref(),
        Some("https://api.calendly.com/users/U")
    );
    assert_eq!(row.account.organization.as_deref(), Some("o"));
    assert!(matches!(entries[1], Ok(Entry::Skipped { line: 2, .. })));
}

#[test]
fn our_own_shape_is_read_in_both_formats() {
    let json = "{\"provider\":\"calcom-eu\",\"user\":\"u\",\"refresh_token\":\"r\",\"expires_in\":3600,\"scope\":\"A B\",\"managed_user_id\":5}";
    let csv =
        "provider,user,refresh_token,expires_in,scope,managed_user_id\ncalcom-eu,u,r,3600,A B,5";
    for input in [json, csv] {
        let row = &rows(input)[0];
        assert_eq!(row.provider.as_str(), "calcom-eu");
        assert_eq!(row.expiry, Some(Expiry::In(Duration::from_hours(1))));
        assert_eq!(row.scope.as_deref(), Some("A B"));
        assert_eq!(row.account.managed_user_id, Some(5));
    }
}

#[test]
fn a_byte_order_mark_hides_neither_format() {
    let json = "\u{feff}{\"user\":\"u\",\"provider\":\"calcom\",\"access_token\":\"t\"}\r\n";
    assert_eq!(outcome(json), ["1 calcom/u"]);
    let csv = "\u{feff}\"user\",provider,access_token\r\nu,calcom,t\r\n";
    assert_eq!(outcome(csv), ["2 calcom/u"]);
}

#[test]
fn quoted_fields_may_have_commas_quotes_and_line_breaks() {
    let rows =
        rows("user,note,provider,access_token\nu,\"a, \"\"b\"\"\nc\",calendly,t\nv,,calendly,t\n");
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].line, rows[1].line), (2, 4));
}

#[test]
fn the_given_provider_fills_in_but_never_overrules() {
    let options = Options {
        provider: Some(ProviderName::parse("calcom-eu").unwrap()),
        ..Options::default()
    };
    let input = "user,provider,managed_user_id\nu,,1\nv,calcom,2\n";
    let names: Vec<String> = Rows::new(input.as_bytes(), options)
        .map(|entry| match entry {
            Ok(Entry::Row(row)) => row.provider.as_str().to_owned(),
            _ => panic!("a row"),
        })
        .collect();
    assert_eq!(names, ["calcom-eu", "calcom"]);
}

#[test]
fn a_bad_line_does_not_stop_the_others() {
    assert_eq!(
        outcome(
            "user,provider,access_token\nu,calcom\n,calcom,t\nu u,calcom,t\nu,Cal.com,t\nu,,t\nu,calcom,\nok,calcom,t\n"
        ),
        [
            "line 2: has 2 fields, but the header has 3",
            "line 3: has no user",
            "line 4: a user id is 1 to 256 visible ASCII characters without spaces",
            "line 5: a provider name is 1 to 32 of a-z, 0-9 and '-', beginning with a letter",
            "line 6: names no provider, and none was given",
            "7 skipped: has neither tokens nor a managed user",
            "8 calcom/ok",
        ]
    );
}

#[test]
fn columns_that_are_missing_altogether_are_a_problem() {
    assert_eq!(
        outcome("{\"user\":\"u\",\"provider\":\"calcom\",\"acces_token\":\"t\"}"),
        ["line 1: has no column for tokens or a managed user"]
    );
    assert_eq!(outcome("provider,token\ncalcom,t\ncalcom,t").len(), 1);
}

#[test]
fn no_problem_repeats_a_value() {
    let lines = [
        format!("{{\"user\":\"{SENTINEL} x\",\"provider\":\"calcom\",\"access_token\":\"t\"}}"),
        format!("{{\"user\":\"u\",\"provider\":\"{SENTINEL}!\",\"access_token\":\"t\"}}"),
        format!("{{\"user\":\"u\",\"provider\":\"calcom\",\"access_token\":\"{SENTINEL}\\n2\"}}"),
        format!("{{\"user\":\"u\",\"provider\":\"calcom\",\"access_token\":[\"{SENTINEL}\"]}}"),
        format!(
            "{{\"user\":\"u\",\"provider\":\"calcom\",\"access_token\":\"t\",\"expires_at\":\"{SENTINEL}\"}}"
        ),
        format!("{{\"user\":\"u\",\"provider\":\"calcom\",\"managed_user_id\":\"{SENTINEL}\"}}"),
        format!("{{\"user\":\"u\",\"is_active\":\"{SENTINEL}\"}}"),
        format!("\"{SENTINEL}\""),
        format!("{{\"user\":\"{SENTINEL}"),
    ];
    let found = outcome(&lines.join("\n"));
    assert_eq!(found.len(), lines.len());
    for text in found {
        assert!(
            text.starts_with("line ") && !text.contains(SENTINEL),
            "{text}"
        );
    }
}

#[test]
fn a_line_of_more_than_a_megabyte_is_passed_over() {
    let long = "x".repeat(2 * 1024 * 1024);
    let input = format!("user,provider,access_token\nu,calcom,{long}\nok,calcom,t\n");
    assert_eq!(
        outcome(&input),
        ["line 2: is longer than 1 MB", "3 calcom/ok"]
    );
}

#[test]
fn an_input_that_breaks_off_is_said_to() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("gone"))
        }
    }
    let entries: Vec<_> = Rows::new(Broken, Options::default()).collect();
    assert_eq!(entries.len(), 1);
    assert!(matches!(&entries[0], Err(problem) if problem.reason.contains("gone")));
}

#[test]
fn quotes_that_never_close_are_a_problem_and_not_a_hang() {
    let input = format!(
        "user,provider,access_token\nu,calcom,\"t\n{}",
        "v,calcom,t\n".repeat(5)
    );
    assert_eq!(outcome(&input), ["line 2: a quoted field has no end"]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, csv: bool) {
        let format = if csv { Format::Csv } else { Format::Auto };
        let options = Options { format, provider: None };
        let _ = Rows::new(bytes.as_slice(), options).count();
    }

    #[test]
    fn no_rows_make_it_panic(body in "([a-z0-9_]{0,4}|,|\"|\n|\r|\\{|\\}|:|é|null){0,60}") {
        let input = format!("user,provider,access_token\n{body}");
        let _ = Rows::new(input.as_bytes(), Options::default()).count();
        let input = format!("{{\"user\":\"u\"}}\n{body}");
        let _ = Rows::new(input.as_bytes(), Options::default()).count();
    }
}
