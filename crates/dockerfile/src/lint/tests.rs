use std::cell::RefCell;

use super::*;

fn warnings(text: &str, checks: &str) -> Vec<String> {
    let file = crate::parse(text.as_bytes()).expect("a valid file");
    let found = RefCell::new(Vec::new());
    let keep = |warning: Warning| found.borrow_mut().push(warning.to_string());
    let linter = Linter::new(Checks::parse(checks).expect("readable checks"), &keep);
    check_file(&file, &linter);
    drop(linter);
    found.into_inner()
}

#[test]
fn rules_of_the_text() {
    for (text, expected) in [
        (
            "FROM scratch AS One",
            "StageNameCasing: Stage name 'One' should be lowercase (line 1)",
        ),
        (
            "FROM scratch as one",
            "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
        ),
        (
            "FROM scratch\nLABEL a=1 \\\n\n b=2",
            "NoEmptyContinuation: Empty continuation line (line 4)",
        ),
        (
            "FROM scratch\nlabel a=1\nLABEL b=2",
            "ConsistentInstructionCasing: Command 'label' should match the case of the command majority \
             (uppercase) (line 2)",
        ),
        (
            "from scratch\nuser 1\nUser 2",
            "ConsistentInstructionCasing: Command 'User' should match the case of the command majority \
             (lowercase) (line 3)",
        ),
        (
            "FROM scratch AS a\nFROM scratch AS a",
            "DuplicateStageName: Duplicate stage name \"a\", stage names should be unique (line 2)",
        ),
        (
            "FROM busybox AS context",
            "ReservedStageName: Stage name should not use the same name as reserved stage \"context\" (line 1)",
        ),
        (
            "FROM scratch\nMAINTAINER me",
            "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
        ),
    ] {
        assert_eq!(warnings(text, ""), [expected], "{text}");
    }
    for text in [
        "FROM scratch AS one\nLABEL a=1 \\\n b=2",
        "from scratch as one",
        "From scratch as one\nFrom scratch\nfrom scratch\n#none",
        "ARG a\narg b\nFROM scratch",
    ] {
        let found = warnings(text, "skip=ConsistentInstructionCasing");
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn descriptions_are_checked_on_request() {
    let text = "# other words\nARG A\nFROM scratch";
    assert!(warnings(text, "").is_empty());
    let expected = "InvalidDefinitionDescription: Comment for ARG should follow the format: `# A <description>` (line 2)";
    assert_eq!(warnings(text, "experimental=all;skip=all"), [expected]);
    assert_eq!(
        warnings(text, "experimental=InvalidDefinitionDescription"),
        [expected]
    );
    assert!(warnings("# A word\nARG A\nFROM scratch", "experimental=all").is_empty());
    assert!(warnings("# B word\nARG A=1 B=2\nFROM scratch", "experimental=all").is_empty());
}

#[test]
fn rules_are_switched_off() {
    let text = "FROM scratch AS One\nMAINTAINER me";
    assert_eq!(warnings(text, "skip=StageNameCasing").len(), 1);
    assert_eq!(
        warnings(text, "skip= StageNameCasing , MaintainerDeprecated").len(),
        0
    );
    assert_eq!(warnings(text, "skip=all").len(), 0);
    assert_eq!(warnings(text, "skip=stagenamecasing").len(), 2);
    let above = "FROM scratch AS One\n# check=skip=MaintainerDeprecated\nMAINTAINER me\nMAINTAINER you";
    assert_eq!(warnings(above, "").len(), 2);
    let broken = "FROM scratch\n# check=nonsense\nMAINTAINER me";
    assert_eq!(warnings(broken, "").len(), 1);
}

#[test]
fn options_that_are_refused() {
    for (text, expected) in [
        ("skip", "the check option `skip` has no value"),
        ("skip=A;", "the check option `` has no value"),
        ("fast=1", "there is no check option `fast`"),
        ("error=yes", "`yes` is no value for the check option `error`"),
    ] {
        let error = Checks::parse(text).expect_err("it is refused");
        assert_eq!(error.to_string(), expected, "{text}");
    }
    assert!(Checks::parse(" skip = A ; error = true ").is_ok_and(|checks| checks.error));
}

#[test]
fn only_error_true_refuses() {
    let file = crate::parse(b"FROM scratch\nMAINTAINER me").expect("a valid file");
    let ignore = |_: Warning| {};
    for (checks, refusing) in [
        ("error=true", true),
        ("error=false", false),
        ("error=true;skip=all", false),
    ] {
        let linter = Linter::new(Checks::parse(checks).expect("readable checks"), &ignore);
        check_file(&file, &linter);
        assert_eq!(!linter.refusing().is_empty(), refusing, "{checks}");
    }
}

#[test]
fn the_table_is_in_order() {
    let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(Rule::ALL.iter().all(|rule| !rule.description().is_empty()));
}

#[test]
fn names_of_secrets() {
    for name in [
        "API_KEY",
        "token",
        "Auth",
        "MY_PWORD_X",
        "DB_PASSWORD",
        "GIT_CREDENTIALS",
    ] {
        assert!(is_secret_name(name), "{name}");
    }
    for name in [
        "KEYBOARD",
        "PUBLIC_KEY",
        "KEY_FILE",
        "TOKEN_VERSION",
        "AUTHOR",
        "",
        "_",
    ] {
        assert!(!is_secret_name(name), "{name}");
    }
}

#[test]
fn misspelt_variables() {
    assert_eq!(nearest("NOPE", ["PATH", "NAME"]), Some("NAME"));
    assert_eq!(nearest("HOME_DRI", ["HOME_DIR"]), Some("HOME_DIR"));
    assert_eq!(nearest("foo", ["Foo", "FOO"]), Some("Foo"));
    assert_eq!(nearest("UNKNOWN", ["PATH"]), None);
    assert_eq!(nearest("A", ["B", "A"]), None);
}

#[test]
fn values_are_quoted_as_in_go() {
    let shown = |path: &str| Finding::WorkdirRelativePath { path }.to_string();
    for (path, quoted) in [
        ("a\"b\\c", "\"a\\\"b\\\\c\""),
        ("é\u{a0}\u{1}\t'", "\"é\\u00a0\\x01\\t'\""),
        ("\u{1f600}\u{e0001}", "\"\u{1f600}\\U000e0001\""),
    ] {
        assert!(
            shown(path).starts_with(&format!("Relative workdir {quoted} can")),
            "{}",
            shown(path)
        );
    }
}
