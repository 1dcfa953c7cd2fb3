use super::json::{self, Array};
use super::{directives, parse, parse_trigger};
use crate::ast::{Command, CommandLine};

fn messages(text: &str) -> Vec<String> {
    parse(text.as_bytes())
        .expect_err(text)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn commands(text: &str) -> Vec<Command> {
    let file = parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    file.stages
        .into_iter()
        .flat_map(|stage| stage.instructions)
        .map(|instruction| instruction.command)
        .collect()
}

#[test]
fn exec_form_only_for_valid_json() {
    let kind = |rest: &str| match &commands(&format!("FROM a\nCMD {rest}\n"))[0] {
        Command::Cmd(CommandLine::Exec(words)) => words.iter().map(|word| word.value.clone()).collect(),
        Command::Cmd(CommandLine::Shell(word)) => vec!["shell".to_owned(), word.value.clone()],
        other => panic!("{other:?}"),
    };
    for (rest, expected) in [
        (r#"["a", "b c"]"#, vec!["a", "b c"]),
        ("[ ]", vec![]),
        (r#"["\u00e9\n\ud83d\ude00\ud800"]"#, vec!["é\n😀\u{fffd}"]),
        ("['a']", vec!["shell", "['a']"]),
        (r#"["a"] b"#, vec!["shell", r#"["a"] b"#]),
        (r#"["a",]"#, vec!["shell", r#"["a",]"#]),
        (r#"["a" 1]"#, vec!["shell", r#"["a" 1]"#]),
    ] {
        assert_eq!(kind(rest), expected, "{rest}");
    }
}

#[test]
fn json_of_other_things_is_found() {
    for text in [
        r"[1]",
        r#"["a", null]"#,
        r#"[{"a": [1.5e3, true, {}], "b": []}]"#,
        "[[]]",
        "[-0]",
    ] {
        assert!(matches!(json::array(text), Array::NotStrings(_)), "{text}");
    }
    for text in [
        "",
        "1",
        "[",
        "[1",
        "[01]",
        "[+1]",
        "[1.]",
        "[tru]",
        "[1e999]",
        r#"[{"a"}]"#,
        r#"[{"a":1,}]"#,
        "[\"\t\"]",
        r#"["\x"]"#,
    ] {
        assert_eq!(json::array(text), Array::No, "{text}");
    }
    assert_eq!(json::array(&"[".repeat(100_000)), Array::No);
}

#[test]
fn syntax_is_found_in_every_form() {
    for (text, expected) in [
        ("# syntax=a/b:1\nFROM x", Some("a/b:1")),
        ("#SYNTAX = a/b:1 more words\n", Some("a/b:1")),
        ("\u{feff}#!/bin/x\n# check=a\n# syntax=a\n", Some("a")),
        ("// syntax=a\n", Some("a")),
        ("{\"syntax\": \"a\", \"b\": 1}", Some("a")),
        ("\n# syntax=a\n", None),
        ("# hello\n# syntax=a\n", None),
        ("# other=1\n# syntax=a\n", None),
        ("# syntax=\n", None),
        (" # syntax=a\n", None),
        ("", None),
    ] {
        let found = directives(text.as_bytes()).syntax.map(|word| word.value);
        assert_eq!(found.as_deref(), expected, "{text}");
    }
}

#[test]
fn triggers_are_single_instructions() {
    let command = |text: &str| parse_trigger(text).map(|instruction| instruction.command);
    assert!(matches!(command("RUN <<E\nx\nE"), Ok(Command::Run(run)) if run.heredocs.len() == 1));
    assert!(matches!(command("ARG a=b"), Ok(Command::Arg(_))));
    assert!(matches!(command("  env a b"), Ok(Command::Env(_))));
    for refused in [
        "",
        "NOSUCH x",
        "FROM x",
        "RUN a\nRUN b",
        "ARG a\nARG b",
        "RUN <<E",
        "FROM x\nRUN y",
    ] {
        assert!(command(refused).is_err(), "{refused}");
    }
}

#[test]
fn errors_that_follow_from_another_are_not_reported() {
    assert_eq!(
        messages("FORM a\nRUN b\n"),
        ["line 1: unknown instruction `FORM` (did you mean `FROM`?)"]
    );
    assert_eq!(messages("FROM\nRUN b\nCOPY c\n").len(), 2);
    assert_eq!(messages("RUN a\nRUN b\nFROM c\n").len(), 1);
}

#[test]
fn a_line_may_be_as_long_as_buildkits() {
    let line = |length: usize, end: &str| format!("FROM a\n#{}{end}", "x".repeat(length - 1)).into_bytes();
    for (length, end, valid) in [
        (65_535, "\n", true),
        (65_536, "\n", false),
        (65_535, "", true),
        (65_535, "\r\n", false),
    ] {
        assert_eq!(parse(&line(length, end)).is_ok(), valid, "{length} {end:?}");
    }
}

#[test]
fn heredoc_helpers() {
    let all = commands("FROM a\nRUN <<-E\n\tx\n\t\ty\n\tE\nRUN cat <<E\nz\nE\nRUN true\n");
    let runs: Vec<_> = all
        .iter()
        .filter_map(|command| {
            if let Command::Run(run) = command {
                Some(run)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        runs[0]
            .script()
            .map(|heredoc| heredoc.text().into_owned())
            .as_deref(),
        Some("x\ny\n")
    );
    assert_eq!(runs[0].heredocs[0].content, "\tx\n\t\ty\n");
    assert!(runs[1].script().is_none() && runs[2].script().is_none());
}
