use super::{Policy, PolicyError};
use crate::{Finding, Severity};

fn finding(id: &'static str, severity: Severity, path: Option<&str>) -> Finding {
    let mut finding = Finding::new(id, severity, "x");
    finding.path = path.map(Into::into);
    finding
}

#[test]
fn severities_exceptions_and_the_verdict() {
    let text = "extends = \"distroless\"\nfail-on = \"warning\"\n[severity]\nleftover = \"warning\"\n\
        interpreter = \"off\"\n[[allow]]\nrule = \"shell\"\npaths = [\"/busybox/**\"]\nreason = \"debugging\"\n\
        [[allow]]\nrules = [\"user-root\", \"time\"]\nreason = \"the cluster decides\"\n";
    let policy = Policy::parse(text, "own.toml").unwrap();
    assert_eq!(
        (policy.name(), policy.fail_on()),
        ("own.toml", Some(Severity::Warning))
    );
    let verdict = policy.apply(vec![
        finding("shell", Severity::Error, Some("/busybox/sh")),
        finding("interpreter", Severity::Error, Some("/usr/bin/perl")),
        finding("user-root", Severity::Warning, None),
        finding("time", Severity::Note, Some("/opt/x")),
        finding("sticky-directory", Severity::Warning, Some("/tmp")),
    ]);
    assert!(!verdict.fails);
    let reasons: Vec<&str> = verdict
        .allowed
        .iter()
        .map(|allowed| allowed.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "debugging",
            "the cluster decides",
            "the file system hierarchy has them"
        ]
    );
    // An exception without paths is for findings about no file alone.
    assert_eq!(
        verdict.findings,
        [finding("time", Severity::Note, Some("/opt/x"))]
    );
    let verdict = policy.apply(vec![finding("leftover", Severity::Note, Some("/var/log"))]);
    assert!(verdict.fails);
    assert_eq!(verdict.count(Severity::Warning), 1);
    let never = Policy::parse("fail-on = \"never\"", "never").unwrap();
    assert!(
        !never
            .apply(vec![finding("shell", Severity::Error, Some("/sh"))])
            .fails
    );
    // Without `extends` nothing is accepted.
    let bare = Policy::parse("", "bare").unwrap();
    assert_eq!(
        bare.apply(vec![finding("sticky-directory", Severity::Warning, Some("/tmp"))])
            .allowed,
        []
    );
}

#[test]
fn mistakes_are_shown_with_their_line() {
    for (text, line, says) in [
        (
            "fail-no = \"error\"",
            1,
            "unknown key `fail-no`, did you mean `fail-on`?",
        ),
        (
            "\nfail-on = \"eror\"",
            2,
            "`eror` is no severity, did you mean `error`?",
        ),
        ("fail-on = 3", 1, "expected a string, found a number"),
        (
            "[severity]\n\nshel = \"off\"",
            3,
            "there is no rule `shel`, did you mean `shell`?",
        ),
        (
            "[severity]\nshell = \"bad\"",
            2,
            "`bad` is no severity (there are",
        ),
        (
            "[[allow]]\nrule = \"setiud\"\nreason = \"x\"",
            2,
            "did you mean `setuid`?",
        ),
        (
            "[[allow]]\nrule = \"setuid\"\npath = [\"/x\"]",
            3,
            "unknown key `path`, did you mean `paths`?",
        ),
        (
            "[[allow]]\nrule = \"setuid\"\npaths = [\"x\"]\nreason = \"x\"",
            3,
            "a path begins with `/`",
        ),
        (
            "[[allow]]\nrule = \"setuid\"\npaths = [\"/[\"]\nreason = \"x\"",
            3,
            "/[",
        ),
        (
            "[[allow]]\nrule = \"setuid\"\npaths = []\nreason = \"x\"",
            1,
            "`paths` is empty",
        ),
        ("[[allow]]\nrule = \"setuid\"", 1, "needs a `reason`"),
        ("[[allow]]\nreason = \"x\"", 1, "needs `rule` or `rules`"),
        ("allow = \"x\"", 1, "expected a list"),
        (
            "extends = \"distrolless\"",
            1,
            "there is no built-in policy `distrolless`, did you mean `distroless`?",
        ),
        ("a = \n", 1, ""),
        ("x\u{1b}[31m = 1", 1, ""),
        ("fail-on = \"never\"\nfail-on = \"error\"", 2, "duplicate key"),
    ] {
        let error = Policy::parse(text, "p.toml").unwrap_err();
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("p.toml:{line}:")), "{text}: {shown}");
        assert!(shown.contains(says), "{text}: {shown}");
        assert!(
            shown.contains(&format!("\n {line} | ")) && shown.contains('^'),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
    let error = Policy::built_in("distrless").unwrap_err();
    assert!(matches!(&error, PolicyError::Unknown { nearest: Some(name), .. } if name == "distroless"));
    assert!(Policy::built_in("distroless").is_ok());
}

#[test]
fn the_mark_is_under_the_mistake() {
    let error = Policy::parse("fail-on = \"error\"\nseverty = 1\n", "p").unwrap_err();
    let shown = error.to_string();
    let lines: Vec<&str> = shown.lines().skip(1).collect();
    assert_eq!(lines, ["   |", " 2 | severty = 1", "   | ^^^^^^^"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 200, ..Default::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\]a-z\"'= \n.é\u{202e}{},-]{0,60}") {
        let _ = Policy::parse(&text, "x").map_err(|error| error.to_string());
    }
}
