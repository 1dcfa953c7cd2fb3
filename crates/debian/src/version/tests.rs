use super::*;
use proptest::prelude::*;
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

fn dpkg_says(a: &str, operator: &str, b: &str) -> Option<bool> {
    Command::new("dpkg")
        .args(["--compare-versions", a, operator, b])
        .stderr(Stdio::null())
        .status()
        .ok()
        .map(|status| status.success())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn agrees_with_dpkg(a in "([0-2]:)?[0-9][0-9a-b.+~]{0,6}(-[0-9a-b.+~]{1,4})?",
                        b in "([0-2]:)?[0-9][0-9a-b.+~]{0,6}(-[0-9a-b.+~]{1,4})?") {
        let operator = match compare(&a, &b) {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        prop_assert_ne!(dpkg_says(&a, operator, &b), Some(false), "{} {} {}", a, operator, b);
    }

    #[test]
    fn is_a_total_order(a in "[ -~]{0,8}", b in "[0-9a~.+-]{0,8}", c in "[0-9a~.+-]{0,8}") {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le());
        }
        prop_assert!(compare(&a, &a).is_eq());
    }
}
