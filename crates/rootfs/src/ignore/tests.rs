//! Patterns against tables taken from Go's and moby's documented behaviour, and against each
//! other.

use proptest::prelude::*;

use super::*;

#[test]
fn matches_as_go_does() {
    let cases: &[(&str, &str, Option<bool>)] = &[
        ("abc", "abc", Some(true)),
        ("*", "abc", Some(true)),
        ("*c", "abc", Some(true)),
        ("a*", "ab/c", Some(false)),
        ("a*/b", "abc/b", Some(true)),
        ("a*/b", "a/c/b", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
        ("ab[c]", "abc", Some(true)),
        ("ab[b-d]", "abc", Some(true)),
        ("ab[e-g]", "abc", Some(false)),
        ("ab[^c]", "abc", Some(false)),
        ("a\\*b", "a*b", Some(true)),
        ("a\\*b", "ab", Some(false)),
        ("a?b", "a☺b", Some(true)),
        ("a[^a]b", "a☺b", Some(true)),
        ("a???b", "a☺b", Some(false)),
        ("[a-ζ]*", "α", Some(true)),
        ("*[a-ζ]", "A", Some(false)),
        ("a?b", "a/b", Some(false)),
        ("a[/]b", "a/b", Some(true)),
        ("[\\]a]", "]", Some(true)),
        ("[\\-x]", "-", Some(true)),
        ("[x\\-]", "z", Some(false)),
        ("[]a]", "]", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[a-b-c]", "a", None),
        ("[", "a", None),
        ("[^", "a", None),
        ("[^bc", "a", None),
        ("a[", "a", None),
        ("a[", "ab", None),
        ("a[", "x", None),
        ("a/b[", "x", None),
        ("\\", "a", None),
        ("*x", "xxx", Some(true)),
        ("", "", Some(true)),
        ("", "a", Some(false)),
    ];
    for (pattern, name, want) in cases {
        let got = match_path(pattern.as_bytes(), name.as_bytes()).ok();
        assert_eq!(got, *want, "`{pattern}` against `{name}`");
    }
}

#[test]
fn patterns_select_as_moby_does() {
    let cases: &[(&[&str], &str, bool)] = &[
        (&["**"], "file", true),
        (&["**"], "dir/file", true),
        (&["**/"], "file", true),
        (&["**/**"], "dir/file", true),
        (&["dir/**"], "dir/file", true),
        (&["dir/**"], "dir", false),
        (&["dir/**"], "dir/dir2/file", true),
        (&["**/dir2/*"], "dir/dir2/file", true),
        (&["**/dir2/*"], "dir/dir2/dir2/file", true),
        (&["**file"], "dir/file", true),
        (&["**/file"], "file", true),
        (&["**/file"], "dirfile", false),
        (&["**/*.txt"], "a/b.txt", true),
        (&["a**b"], "a/x/b", true),
        (&["*.log"], "a.log", true),
        (&["*.log"], "d/a.log", false),
        (&["a/*.log"], "a/b.log", true),
        (&["abc.def"], "abcXdef", false),
        (&["a+b"], "a+b", true),
        (&["a\\*b"], "a*b", true),
        (&["a?c"], "abc", true),
        (&["a[b-d]e"], "ace", true),
        (&["a[^b]c"], "abc", false),
        (&["w[*]w"], "w*w", false),
        (&["[[]x"], "[x", true),
        (&["a[&&]b"], "a&b", true),
        (&["d"], "d/e/f", true),
        (&["d", "!d/e"], "d/e/f", false),
        (&["d", "!d/e", "d/e/f"], "d/e/f", true),
        (&["*", "!x"], "x", false),
        (&["!x", "*"], "x", true),
        (&["./a/../b"], "b", true),
        (&["/a"], "a", false),
        (&[" a "], "a", true),
        (&[""], "a", false),
    ];
    for (patterns, path, want) in cases {
        let matcher = PatternMatcher::new(patterns).unwrap();
        let got = matcher.matches_or_parent_matches(path.as_bytes());
        assert_eq!(got, *want, "{patterns:?} against `{path}`");
    }
    for bad in ["!", "[", "a[", "\\"] {
        assert!(PatternMatcher::new(&[bad]).is_err(), "{bad}");
    }
}

#[test]
fn ignore_files_are_cleaned_line_by_line() {
    let text = b"\xEF\xBB\xBF# comment\n # pattern\r\n\n/abs/\n! /x/../y \n a//b/. \n!\n*/..\n/\n";
    let want = ["# pattern", "abs", "!y", "a/b", "!", ".", "/"];
    assert_eq!(read_ignore_file(text).unwrap(), want);
    assert_eq!(
        read_ignore_file(&[b'x'; 70_000]),
        Err(PatternError::LongLine { line: 1 })
    );
}

#[test]
fn wildcard_paths_are_split_and_pruned() {
    let split = |path: &str| {
        let path = WildcardPath::split(path.as_bytes());
        (
            String::from_utf8(path.prefix).unwrap(),
            String::from_utf8(path.pattern).unwrap(),
        )
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(split("/a/b*/c"), pair("/a", "b*/c"));
    assert_eq!(split("/*"), pair("/", "*"));
    assert_eq!(split("/a/b"), pair("/a/b", ""));
    assert_eq!(split("/a\\*b/c?"), pair("/a\\*b", "c?"));
    let path = WildcardPath::split(b"/a/b*/c/*");
    for (dir, want) in [("/a", true), ("/a/bx", true), ("/a/x", false), ("/a/b/c", true)] {
        assert_eq!(path.may_match_below(dir.as_bytes()), want, "{dir}");
    }
    assert!(!path.may_match_below(b"/a/b/c/d"));
}

/// Patterns without classes and escapes, matched the slow and plain way.
fn plain_match(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len())
            .take_while(|at| !name[..*at].contains(&b'/'))
            .any(|at| plain_match(rest, &name[at..])),
        [b'?', rest @ ..] => !name.is_empty() && name[0] != b'/' && plain_match(rest, &name[1..]),
        [first, rest @ ..] => name.first() == Some(first) && plain_match(rest, &name[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn match_never_panics(pattern: Vec<u8>, name: Vec<u8>) {
        let _ = match_path(&pattern, &name);
    }

    #[test]
    fn match_equals_the_plain_definition(pattern in "[ab/*?]{0,8}", name in "[ab/]{0,8}") {
        let got = match_path(pattern.as_bytes(), name.as_bytes()).unwrap();
        prop_assert_eq!(got, plain_match(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn matchers_never_panic_and_agree_step_by_step(
        patterns in proptest::collection::vec("!?[ab/*?\\[\\]^\\\\&-]{0,6}", 0..4),
        parts in proptest::collection::vec("[ab]{1,2}", 1..4),
    ) {
        let Ok(matcher) = PatternMatcher::new(&patterns) else { return Ok(()) };
        let mut info = MatchInfo::default();
        let mut matched = false;
        for end in 1..=parts.len() {
            let path = parts[..end].join("/");
            (matched, info) = matcher.matches_with_parent(path.as_bytes(), &info);
        }
        let whole = matcher.matches_or_parent_matches(parts.join("/").as_bytes());
        if !matcher.has_exclusions() {
            prop_assert_eq!(matched, whole);
        }
    }
}
