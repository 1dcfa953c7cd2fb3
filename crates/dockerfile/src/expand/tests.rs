use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Expander, Quotes};
use crate::ast::Escape;

fn variables(name: &str) -> Option<String> {
    let known = BTreeMap::from([
        ("A", "x"),
        ("EMPTY", ""),
        ("FILE", "/tmp/pack.tar.gz"),
        ("WORDS", " one  two "),
        ("STARS", "a*b*c"),
        ("ACCENT", "déjà"),
        ("DOLLAR", "<$0>"),
        ("TWO", "$$$x${1}"),
    ]);
    known.get(name).map(|value| (*value).to_owned())
}

fn expand(expander: Expander, word: &str) -> String {
    match expander.expand(word, &variables) {
        Ok(expansion) => expansion.text,
        Err(error) => format!("! {}", error.reason),
    }
}

#[track_caller]
fn check(expander: Expander, cases: &[(&str, &str)]) {
    for (word, expected) in cases {
        assert_eq!(expand(expander, word), *expected, "{word}");
    }
}

#[test]
fn variables_and_quotes() {
    check(
        Expander::new(Escape::Backslash),
        &[
            ("", ""),
            ("plain é", "plain é"),
            ("$A ${A} $Ax ${A}x", "x x  xx"),
            ("$", "$"),
            ("a$", "a$"),
            ("$.", "$."),
            ("$1x $22 $$ $@y", "x   y"),
            ("'$A' \"$A\" \"'$A'\"", "$A x 'x'"),
            (r#"\$A \a "\$A" "\a" "\\" '\'"#, r"$A a $A \a \ \"),
            ("trailing\\", "trailing"),
            ("`$A`", "`x`"),
            ("<a <<b", "<a <<b"),
        ],
    );
}

#[test]
fn defaults_alternatives_and_demands() {
    check(
        Expander::new(Escape::Backslash),
        &[
            (
                "${NO-w} ${NO:-w} ${EMPTY-w} ${EMPTY:-w} ${A-w} ${A:-w}",
                "w w  w x x",
            ),
            (
                "${NO+w}|${NO:+w}|${EMPTY+w}|${EMPTY:+w}|${A+w}|${A:+w}",
                "||w||w|w",
            ),
            ("${A?m} ${A:?m} ${EMPTY?m}", "x x "),
            ("${NO:-${A}-${NO:-deep}}", "x-deep"),
            ("${NO:-'}'} ${NO:-\"$A\"} \"${NO:-'$A'}\"", "} x $A"),
            ("${NO?}", "! NO: it is unset, and a value is required"),
            ("${EMPTY:?}", "! EMPTY: it is empty, and a value is required"),
            ("${NO:?say $A}", "! NO: say x"),
            // A word that is not used is expanded all the same.
            ("${A:-${NO:?needed}}", "! NO: needed"),
        ],
    );
}

#[test]
fn patterns() {
    check(
        Expander::new(Escape::Backslash),
        &[
            (
                "${FILE#*/} ${FILE##*/} ${FILE%.*} ${FILE%%.*}",
                "tmp/pack.tar.gz pack.tar.gz /tmp/pack.tar /tmp/pack",
            ),
            ("${FILE#?} ${FILE%?}", "tmp/pack.tar.gz /tmp/pack.tar.g"),
            (
                r"${STARS#a\*} ${STARS%\*c} ${STARS##*\*} ${STARS%%\**}",
                "b*c a*b c a",
            ),
            ("${A#[x]} ${A#} ${NO#x} ${EMPTY%%*}", "x x  "),
            ("${ACCENT%?} ${ACCENT#d?}", "déj jà"),
            ("${A#\"x\"} ${A#$A}", " "),
            (r"${A#\a}", r"! invalid escape `\a` in a pattern"),
            (r"${A#\\}", "x"),
        ],
    );
}

#[test]
fn replacements() {
    check(
        Expander::new(Escape::Backslash),
        &[
            ("${FILE/a/A} ${FILE//a/A}", "/tmp/pAck.tar.gz /tmp/pAck.tAr.gz"),
            (r"${FILE//\//_} ${FILE/\/tmp/}", "_tmp_pack.tar.gz /pack.tar.gz"),
            ("${FILE//./$A}", "/tmp/packxtarxgz"),
            ("${STARS//*/-} ${STARS/b?/-}", "- a*-c"),
            ("${A//NO/y} ${EMPTY///y} ${NO//a/b}", "x y "),
            // In `//` a dollar sign of the replacement is a template; in `/` it is text.
            ("${A//x/$DOLLAR} ${A/x/$DOLLAR}", "<x> <$0>"),
            (r"${A//x/\$\$} ${A//x/$TWO}", r"\$\$ $"),
            ("${A/x}", "! `/` between pattern and replacement is missing"),
            ("${A/x/y", "! `${` is not closed"),
        ],
    );
}

#[test]
fn refusals() {
    check(
        Expander::new(Escape::Backslash),
        &[
            ("${", "! `${` is not closed"),
            ("${A", "! `${` is not closed"),
            ("${A:", "! `${` is not closed"),
            ("${A:-", "! `${` is not closed"),
            ("${}", "! bad substitution: a name must follow `${`"),
            ("${:-x}", "! bad substitution: a name must follow `${`"),
            ("${A,,}", "! the modifier `,` is not supported in `${..}`"),
            ("${A:1:2}", "! the modifier `:1` is not supported in `${..}`"),
            ("${A:#x}", "! the modifier `:#` is not supported in `${..}`"),
            ("${#A}", "! the modifier `A` is not supported in `${..}`"),
            ("'open", "! a single quote is not closed"),
            ("\"open", "! a double quote is not closed"),
        ],
    );
}

#[test]
fn the_escape_character_can_be_a_backtick() {
    check(
        Expander::new(Escape::Backtick),
        &[("`$A C:\\$A", "$A C:\\x"), ("\"`\"\" \"\\$A\"", "\" \\x")],
    );
}

#[test]
fn heredoc_bodies_keep_quotes_and_lose_backslashes() {
    check(
        Expander::heredoc_body(),
        &[
            ("it's \"$A\"\n", "it's \"x\"\n"),
            ("\\$A \\n \\\\ $1 $@ $$", "$A n \\   "),
            ("`$A`", "`x`"),
        ],
    );
}

#[test]
fn names_for_display_keep_quotes_and_unset_variables() {
    check(
        Expander::display(Escape::Backslash),
        &[
            (
                "RUN echo \"$A\" '$A' $NO ${NO:-w} ${NO#p} ${NO/a/b}",
                "RUN echo \"x\" '$A' $NO ${NO:-w} ${NO#p} ${NO/a/b}",
            ),
            ("${NO:1:2} $1", "${NO:1:2} $1"),
        ],
    );
}

#[test]
fn words_split_at_blanks_outside_of_quotes() {
    let words = |word: &str| {
        Expander::new(Escape::Backslash)
            .expand(word, &variables)
            .expect(word)
            .words
    };
    for (word, expected) in [
        ("80", vec!["80"]),
        ("a$WORDS.b", vec!["a", "one", "two", ".b"]),
        ("\"a$WORDS.b\"", vec!["a one  two .b"]),
        ("a\\ b 'c d'", vec!["a b", "c d"]),
        ("$EMPTY", vec![]),
        ("\"\" ''", vec![]),
        ("80${NO:-81}", vec!["8081"]),
    ] {
        assert_eq!(words(word), expected, "{word}");
    }
}

#[test]
fn names_are_reported() {
    let result = Expander::new(Escape::Backslash)
        .expand("${A:-$NO} $EMPTY ${B+$C}", &variables)
        .expect("valid");
    assert_eq!(Vec::from_iter(&result.used), ["A", "EMPTY"]);
    assert_eq!(Vec::from_iter(&result.undefined), ["B", "C", "NO"]);
}

#[test]
fn deep_nesting_is_refused_and_long_patterns_end() {
    let deep = format!("{}{}", "${A:-".repeat(100_000), "}".repeat(100_000));
    assert!(expand(Expander::new(Escape::Backslash), &deep).contains("nested"));
    let value = "a".repeat(5_000);
    let lookup = move |_: &str| Some(value.clone());
    let word = format!("${{V##{}b}}", "*a".repeat(50));
    let result = Expander::new(Escape::Backslash)
        .expand(&word, &lookup)
        .expect("valid");
    assert_eq!(result.text.len(), 5_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn never_panics(word in r#"([$][{]?|[A-C_?@#%:+/*\\'"`<{} -]|[}]|é|\PC){0,24}"#, keep in any::<[bool; 2]>()) {
        for quotes in [Quotes::Remove, Quotes::Keep, Quotes::Literal] {
            let expander = Expander { escape: '\\', quotes, keep_escapes: keep[0], keep_unset: keep[1] };
            let _ = expander.expand(&word, &variables);
            let _ = expander.heredoc_words(&word);
        }
    }

    #[test]
    fn text_without_special_characters_stays(word in "[a-z0-9 .,é=-]{0,30}") {
        prop_assert_eq!(expand(Expander::new(Escape::Backslash), &word), word);
    }

    #[test]
    fn single_quotes_protect_all(word in "[^'\u{feff}]{0,30}") {
        prop_assert_eq!(expand(Expander::new(Escape::Backslash), &format!("'{word}'")), word);
    }
}
