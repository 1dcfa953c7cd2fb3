use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::process::{Command, Stdio};

const ORDER: &[(&str, Ordering, &str)] = &[
    ("1.0", Ordering::Equal, "1.0-0"),
    ("1.0", Ordering::Equal, "0:1.00"),
    ("1.0~rc1", Ordering::Less, "1.0"),
    ("1.0~~", Ordering::Less, "1.0~"),
    ("1.0~~a", Ordering::Less, "1.0~"),
    ("1.0", Ordering::Less, "1.0a"),
    ("1.0a", Ordering::Less, "1.0+"),
    ("1.2", Ordering::Less, "1.10"),
    ("2:0.1", Ordering::Greater, "1:9"),
    ("0.9+ds-4", Ordering::Greater, "0.9+ds0-3"),
    ("1.1.1+dfsg-1", Ordering::Equal, "1.1.1+dfsg0-1"),
    ("1-2-3", Ordering::Greater, "1-2"),
    ("7.4.052-1", Ordering::Equal, "7.4.52-1"),
    ("00000000000000000000000000000001", Ordering::Equal, "1"),
    (
        "99999999999999999999999999999999",
        Ordering::Greater,
        "18446744073709551616",
    ),
];

#[test]
fn known_order() {
    for &(a, expected, b) in ORDER {
        assert_eq!(compare(a, b), expected, "{a} against {b}");
        assert_eq!(compare(b, a), expected.reverse(), "{b} against {a}");
    }
}

#[test]
fn parsing() {
    for good in ["1", "1:2.3-4", "1.0~rc1+b2", "2:1:2-3", "0-0"] {
        assert!(good.parse::<Version>().is_ok(), "{good}");
    }
    for bad in [
        "",
        ":1",
        "a:1",
        "-1",
        "1-",
        "abc",
        "1_2",
        "1 2",
        "1:",
        "99999999999:1",
        "1-é",
    ] {
        let expected = if bad == ":1" {
            bad.parse::<Version>().is_ok()
        } else {
            false
        };
        assert_eq!(bad.parse::<Version>().is_ok(), expected, "{bad}");
    }
}

/// Parts of versions where orders differ most.
const PARTS: &[&str] = &[
    "0",
    "00",
    "1",
    "01",
    "2",
    "9",
    "10",
    "99",
    "a",
    "b",
    "z",
    "A",
    "~",
    "~~",
    "+",
    ".",
    "..",
    "-",
    "~rc",
    "+b1",
    "+dfsg",
    "deb12u1",
    "~deb12u2",
    "+really",
    "git2025",
    "99999999999999999999999",
    "18446744073709551616",
];

/// A version of such parts, and another that differs from it in one place.
fn alike() -> impl Strategy<Value = (String, String)> {
    let part = || proptest::sample::select(PARTS);
    let parts = proptest::collection::vec(part(), 0..7);
    let epoch = || proptest::sample::select(&["", "", "", "0:", "00:", "1:", "10:"][..]);
    (
        parts,
        epoch(),
        epoch(),
        any::<proptest::sample::Index>(),
        0..4,
        part(),
    )
        .prop_map(|(parts, first, second, at, how, new)| {
            let mut changed = parts.clone();
            let at = at.index(parts.len() + 1);
            match how {
                0 => changed.insert(at, new),
                1 if at < parts.len() => changed[at] = new,
                2 if at < parts.len() => drop(changed.remove(at)),
                _ => changed.truncate(at),
            }
            let whole = |epoch: &str, parts: &[&str]| format!("{epoch}1{}", parts.concat());
            (whole(first, &parts), whole(second, &changed))
        })
}

/// Lets one shell ask dpkg about many lines of arguments; gives those that it denies,
/// or nothing where there is no dpkg.
fn denied_by_dpkg(lines: &[String]) -> Option<Vec<String>> {
    Command::new("dpkg")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .ok()?;
    let script = "while read -r line; do dpkg $line 2> /dev/null || echo \"$line\"; done";
    let mut shell = Command::new("sh")
        .args(["-fc", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let text = lines.join("\n") + "\n";
    let mut input = shell.stdin.take().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, text.as_bytes()));
    let output = shell.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

/// `DISTIL_VERSION_CASES` asks for more pairs than the usual ones.
#[test]
fn agrees_with_dpkg() {
    let cases = std::env::var("DISTIL_VERSION_CASES").ok();
    let cases: usize = cases.and_then(|text| text.parse().ok()).unwrap_or(400);
    let mut runner = proptest::test_runner::TestRunner::default();
    let simple = ("[0-2]?:?[0-9][0-9a-b.+~-]{0,6}", "[0-2]?:?[0-9][0-9a-b.+~-]{0,6}");
    let pairs = prop_oneof![4 => alike(), 1 => simple];
    let mut lines = Vec::new();
    while lines.len() < cases {
        let (a, b) = pairs.new_tree(&mut runner).unwrap().current();
        if a.parse::<Version>().is_err() || b.parse::<Version>().is_err() {
            continue;
        }
        let operator = match compare(&a, &b) {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        lines.push(format!("--compare-versions {a} {operator} {b}"));
    }
    if let Some(denied) = denied_by_dpkg(&lines) {
        assert!(denied.is_empty(), "{denied:#?}");
    }
}

/// What we call a version dpkg does, too, and the other way round.
#[test]
fn accepts_what_dpkg_accepts() {
    let mut runner = proptest::test_runner::TestRunner::default();
    let texts = "([0-9]{0,2}:|[a-z]:|99999999999:)?[0-9a-z.+~:-]{1,6}(-[0-9a-z+~_]{0,3})?";
    let texts: Vec<String> = (0..200)
        .map(|_| texts.new_tree(&mut runner).unwrap().current())
        .collect();
    let line = |text: &String| format!("--validate-version {text}");
    let Some(denied) = denied_by_dpkg(&texts.iter().map(line).collect::<Vec<_>>()) else {
        return;
    };
    for text in &texts {
        let dpkg = !denied.contains(&line(text));
        assert_eq!(text.parse::<Version>().is_ok(), dpkg, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn is_a_total_order(a in "[ -~]{0,8}", b in "[0-9a~.+-]{0,8}", c in "[0-9a~.+-]{0,8}") {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le());
        }
        prop_assert!(compare(&a, &a).is_eq());
    }
}
