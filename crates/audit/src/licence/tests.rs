use proptest::prelude::*;
use spdx::{Expression, ParseMode};

use super::{Licence, debian};

#[test]
fn licences_of_manifests() {
    for (text, expression) in [
        ("MIT", Some("MIT")),
        ("(MIT OR Apache-2.0)", Some("(MIT OR Apache-2.0)")),
        ("GPL-2.0+", Some("GPL-2.0-or-later")),
        ("MIT License", Some("MIT")),
        ("apache 2.0", Some("Apache-2.0")),
        (
            "https://www.apache.org/licenses/LICENSE-2.0.txt",
            Some("Apache-2.0"),
        ),
        (
            "Apache Software License",
            Some("LicenseRef-Apache-Software-License"),
        ),
        (
            "SEE LICENSE IN LICENSE.md",
            Some("LicenseRef-SEE-LICENSE-IN-LICENSE.md"),
        ),
        ("EPL 2.0 OR MIT License", Some("LicenseRef-EPL-2.0 OR MIT")),
        ("LicenseRef-own", Some("LicenseRef-own")),
        ("\u{1b}[31m", Some("LicenseRef-31m")),
        ("ÄÖ", Some("LicenseRef-unnamed")),
        ("UNLICENSED", None),
        ("", None),
    ] {
        let found = Licence::declared(text);
        assert_eq!(
            found.map(|found| found.expression).as_deref(),
            expression,
            "{text}"
        );
    }
}

#[test]
fn copyright_files_with_fields() {
    let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n\
        Files: *\nCopyright: x\nLicense: GPL-2+ or Artistic, and Expat\n\nFiles: a\nLicense: public-domain\n \
        No copyright.\n .\n None.\n\nFiles: b\nLicense: LGPL-2.1+\n\nFiles: c\nLicense: GPL-3+ with Bison exception\n\n\
        License: LGPL-2.1+\n text\n";
    let found = debian::read(text).unwrap();
    assert_eq!(
        found.expression,
        "((GPL-2.0-or-later OR Artistic-1.0-Perl) AND MIT) AND GPL-3.0-or-later WITH Bison-exception-2.2 \
        AND LGPL-2.1-or-later AND LicenseRef-public-domain"
    );
    let texts: Vec<(&str, &str)> = found
        .references
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(texts, [("LicenseRef-public-domain", "No copyright.\n\nNone.")]);
}

#[test]
fn copyright_files_in_prose() {
    for (text, expression) in [
        (
            "either version 2.1 of the License, or (at your option) any later\nversion.\n\
            see `/usr/share/common-licenses/LGPL-2.1'.",
            Some("LGPL-2.1-or-later"),
        ),
        ("in /usr/share/common-licenses/GPL-2.\n", Some("LicenseRef-GPL-2")),
        (
            "in /usr/share/common-licenses/Apache-2.0 and /usr/share/common-licenses/BSD.",
            Some("Apache-2.0 AND BSD-3-Clause"),
        ),
        ("It is free.", None),
    ] {
        let found = debian::read(text).map(|found| found.expression);
        assert_eq!(found.as_deref(), expression, "{text}");
    }
}

proptest! {
    #[test]
    fn every_expression_is_valid(
        name in "[A-Za-z0-9+. ,()-]{0,24}( (or|and|with|AND|OR) [A-Za-z0-9+.-]{0,8}){0,3}",
        other in "\\PC{0,20}",
    ) {
        let copyright = format!("Format: x\n\nFiles: *\nLicense: {name}\n\nFiles: a\nLicense: {other}\n");
        let prose = format!("see /usr/share/common-licenses/{name} any later version {other}");
        for found in [Licence::declared(&name), Licence::declared(&other), debian::read(&copyright), debian::read(&prose)]
            .into_iter()
            .flatten()
        {
            let parsed = Expression::parse_mode(&found.expression, ParseMode::LAX);
            prop_assert!(parsed.is_ok(), "{} {:?}", found.expression, parsed);
        }
    }
}
