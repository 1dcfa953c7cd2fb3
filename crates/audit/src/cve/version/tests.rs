use proptest::prelude::*;

use super::{Scheme, Version};

fn ascending(scheme: Scheme, texts: &[&str]) {
    let versions: Vec<Version> = texts
        .iter()
        .map(|text| Version::parse(scheme, text).unwrap_or_else(|| panic!("{text}")))
        .collect();
    for (a, lower) in versions.iter().enumerate() {
        for (b, upper) in versions.iter().enumerate() {
            assert_eq!(lower.cmp(upper), a.cmp(&b), "{} {}", texts[a], texts[b]);
        }
    }
}

fn equal(scheme: Scheme, texts: &[&str]) {
    for text in texts {
        assert_eq!(
            Version::parse(scheme, text),
            Version::parse(scheme, texts[0]),
            "{text}"
        );
        assert!(Version::parse(scheme, text).is_some(), "{text}");
    }
}

#[test]
fn debian_versions() {
    ascending(
        Scheme::Debian,
        &[
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+deb12u1",
            "1.0-2",
            "undetermined",
            "1:0.1-1",
        ],
    );
}

/// The example of the specification's section 11, and Go's pseudo-versions.
#[test]
fn semantic_versions() {
    ascending(
        Scheme::Semver,
        &[
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "v1.0.1-0.20230101000000-abcdef012345",
            "v1.0.1",
            "1.2",
            "1.10.0",
            "18446744073709551616.0.0",
        ],
    );
    equal(
        Scheme::Semver,
        &["1.0.0", "v1.0.0", "1", "1.0.0+incompatible", "01.0"],
    );
    for bad in [
        "",
        "x",
        "1..2",
        "1.0-",
        "1.0.0-a_b",
        "(devel)",
        "latest",
        "1.0.0-é",
    ] {
        assert_eq!(Version::parse(Scheme::Semver, bad), None, "{bad}");
    }
}

/// The summary of permitted suffixes and their order in PEP 440.
#[test]
fn python_versions() {
    ascending(
        Scheme::Pep440,
        &[
            "1.dev0",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "1!0.1",
        ],
    );
    equal(Scheme::Pep440, &["1.0", "v1", "1.0.0", "01.00"]);
    equal(Scheme::Pep440, &["1.1a1", "1.1.alpha-1", "1.1-A1", "1.1_alpha_1"]);
    equal(Scheme::Pep440, &["1.1rc0", "1.1c", "1.1pre", "1.1preview0"]);
    equal(
        Scheme::Pep440,
        &["1.0.post2", "1.0-2", "1.0-r2", "1.0rev2", "1.0post2"],
    );
    for bad in [
        "",
        "x",
        "1.0x",
        "1.0+",
        "1.0+é",
        "1.0..1",
        "2004d",
        "1.0-",
        "!1",
        "99999999999999999999",
    ] {
        assert_eq!(Version::parse(Scheme::Pep440, bad), None, "{bad}");
    }
}

/// The orders that Maven's documentation of version specifications gives.
#[test]
fn maven_versions() {
    ascending(
        Scheme::Maven,
        &[
            "1-alpha2snapshot",
            "1-alpha2",
            "1-alpha-123",
            "1-beta-2",
            "1-beta123",
            "1-m2",
            "1-m11",
            "1-rc",
            "1-cr2",
            "1-rc123",
            "1-SNAPSHOT",
            "1",
            "1-sp",
            "1-sp2",
            "1-sp123",
            "1-abc",
            "1-def",
            "1-pom-1",
            "1-1-snapshot",
            "1-1",
            "1-2",
            "1-123",
            "1.1",
            "2.0.1",
            "2.0.1-123",
            "10",
        ],
    );
    ascending(Scheme::Maven, &["1-foo2", "1-foo10", "1-1"]);
    equal(
        Scheme::Maven,
        &[
            "1",
            "1.0",
            "1.0.0",
            "1-0",
            "1.0-0",
            "1.ga",
            "1-final",
            "1.0.0-release",
        ],
    );
    equal(Scheme::Maven, &["1a1", "1-alpha-1"]);
    equal(Scheme::Maven, &["", "0", "0.0-ga"]);
    let deep = "1-a".repeat(100_000);
    assert!(Version::parse(Scheme::Maven, &deep) > Version::parse(Scheme::Maven, "0"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_one_place(
        a in "[0-9a-z.+~!_-]{0,10}|\\PC{0,6}",
        b in "[0-9a-z.+~!_-]{0,10}",
        c in "[0-9.]{1,4}(-?(a|rc|sp|dev|post|snapshot)[0-9]?)?",
    ) {
        for scheme in [Scheme::Debian, Scheme::Semver, Scheme::Pep440, Scheme::Maven] {
            let parse = |text: &str| Version::parse(scheme, text);
            let (Some(a), Some(b), Some(c)) = (parse(&a), parse(&b), parse(&c)) else { continue };
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(a == a.clone());
            // Maven's own order is not transitive: `` < `a` < `.snapshot` < ``.
            if scheme != Scheme::Maven && a <= b && b <= c {
                prop_assert!(a <= c, "{:?} {:?} {:?}", a, b, c);
            }
        }
    }
}
