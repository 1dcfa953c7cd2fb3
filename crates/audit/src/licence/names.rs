//! Names of licences.

use spdx::{Expression, ParseMode};

/// Names that Debian's copyright files, Python's classifiers and poms have for licences, in lower case. Only
/// those that mean one licence.
const KNOWN: [(&str, &str); 64] = [
    ("expat", "MIT"),
    ("mit license", "MIT"),
    ("the mit license", "MIT"),
    ("mit-0", "MIT-0"),
    ("apache 2", "Apache-2.0"),
    ("apache 2.0", "Apache-2.0"),
    ("apache-2", "Apache-2.0"),
    ("apache2", "Apache-2.0"),
    ("apache2.0", "Apache-2.0"),
    ("asl 2.0", "Apache-2.0"),
    ("apache license 2.0", "Apache-2.0"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("apache license version 2.0", "Apache-2.0"),
    ("the apache license, version 2.0", "Apache-2.0"),
    ("apache software license, version 2.0", "Apache-2.0"),
    ("the apache software license, version 2.0", "Apache-2.0"),
    ("apache software license 2.0", "Apache-2.0"),
    ("www.apache.org/licenses/license-2.0", "Apache-2.0"),
    ("www.apache.org/licenses/license-2.0.txt", "Apache-2.0"),
    ("www.apache.org/licenses/license-2.0.html", "Apache-2.0"),
    ("opensource.org/licenses/apache-2.0", "Apache-2.0"),
    ("opensource.org/licenses/mit", "MIT"),
    ("opensource.org/licenses/mit-license.php", "MIT"),
    ("opensource.org/licenses/bsd-3-clause", "BSD-3-Clause"),
    ("opensource.org/licenses/bsd-2-clause", "BSD-2-Clause"),
    ("bsd 2-clause", "BSD-2-Clause"),
    ("bsd 3-clause", "BSD-3-Clause"),
    ("3-clause bsd license", "BSD-3-Clause"),
    ("2-clause bsd license", "BSD-2-Clause"),
    ("bsd-3-clause license", "BSD-3-Clause"),
    ("new bsd license", "BSD-3-Clause"),
    ("bsd-2", "BSD-2-Clause"),
    ("bsd-3", "BSD-3-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2", "Artistic-2.0"),
    ("isc license (iscl)", "ISC"),
    ("cc0", "CC0-1.0"),
    ("cddl", "CDDL-1.0"),
    ("zlib/libpng", "Zlib"),
    ("boost-1.0", "BSL-1.0"),
    ("boost software license 1.0 (bsl-1.0)", "BSL-1.0"),
    ("mozilla public license 2.0 (mpl 2.0)", "MPL-2.0"),
    ("mozilla public license, version 2.0", "MPL-2.0"),
    ("mpl 2.0", "MPL-2.0"),
    ("mpl-2", "MPL-2.0"),
    ("python software foundation license version 2", "PSF-2.0"),
    ("eclipse public license - v 1.0", "EPL-1.0"),
    ("eclipse public license 1.0", "EPL-1.0"),
    ("eclipse public license - v 2.0", "EPL-2.0"),
    ("eclipse public license 2.0", "EPL-2.0"),
    ("eclipse public license v2.0", "EPL-2.0"),
    ("eclipse public license v. 2.0", "EPL-2.0"),
    ("eclipse distribution license - v 1.0", "BSD-3-Clause"),
    ("edl 1.0", "BSD-3-Clause"),
    ("the unlicense (unlicense)", "Unlicense"),
    ("gnu general public license v2 (gplv2)", "GPL-2.0-only"),
    (
        "gnu general public license v2 or later (gplv2+)",
        "GPL-2.0-or-later",
    ),
    ("gnu general public license v3 (gplv3)", "GPL-3.0-only"),
    (
        "gnu general public license v3 or later (gplv3+)",
        "GPL-3.0-or-later",
    ),
    (
        "gnu lesser general public license v2 or later (lgplv2+)",
        "LGPL-2.0-or-later",
    ),
    ("gnu lesser general public license v3 (lgplv3)", "LGPL-3.0-only"),
    (
        "gnu lesser general public license v3 or later (lgplv3+)",
        "LGPL-3.0-or-later",
    ),
    ("gpl2 w/ cpe", "GPL-2.0-only WITH Classpath-exception-2.0"),
];

/// `text` in its standard form if it is an SPDX expression.
pub(super) fn expression(text: &str) -> Option<String> {
    let parsed = Expression::parse_mode(text, ParseMode::STRICT).ok()?;
    let plain = parsed.requirements().all(|part| part.req.license.id().is_some());
    plain.then(|| modern(text))
}

/// Deprecated identifiers of the GNU family as they are written now, where that is one word for one word.
fn modern(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let name = word.trim_matches(['(', ')']);
        match gnu(name) {
            Some(id) => word.replace(name, &id),
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The SPDX identifier, or `ID WITH EXCEPTION`, of a licence that is called `name`; none unless that is sure.
pub(super) fn identifier(name: &str) -> Option<String> {
    let plain = name
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_ascii_lowercase();
    if let Some((_, id)) = KNOWN.iter().find(|(known, _)| *known == plain) {
        return Some((*id).to_owned());
    }
    if let Some(id) = gnu(name) {
        return Some(id);
    }
    if let Some((licence, exception)) = plain.split_once(" with ") {
        return with_exception(&name[..licence.len()], exception);
    }
    let ids = spdx::identifiers::LICENSES.iter();
    let found = ids.filter(|id| id.name.eq_ignore_ascii_case(name));
    found.map(|id| id.name.to_owned()).next()
}

/// `GPL-2`, `LGPL-2.1+`, `GFDL-NIV-1.3+`, and what SPDX once had for them, `GPL-2.0+`.
fn gnu(name: &str) -> Option<String> {
    let (family, rest) = ["LGPL", "AGPL", "GPL", "GFDL"]
        .into_iter()
        .find_map(|family| Some((family, name.strip_prefix(family)?.strip_prefix('-')?)))?;
    let (invariants, rest) = match rest.strip_prefix("NIV-") {
        Some(rest) if family == "GFDL" => ("-no-invariants", rest),
        _ => ("", rest),
    };
    let (version, suffix) = match rest.strip_suffix('+') {
        Some(version) => (version, "or-later"),
        None => (rest, "only"),
    };
    let version = match version.len() {
        1 => format!("{version}.0"),
        _ => version.to_owned(),
    };
    let id = format!("{family}-{version}{invariants}-{suffix}");
    spdx::license_id(&id).map(|id| id.name.to_owned())
}

/// Exceptions that have one version, or none.
fn with_exception(licence: &str, exception: &str) -> Option<String> {
    let exception = exception
        .trim_end_matches("exception")
        .trim_end_matches([' ', '-']);
    let id = match exception {
        "classpath" => "Classpath-exception-2.0",
        "bison" => "Bison-exception-2.2",
        "libtool" => "Libtool-exception",
        "font" => "Font-exception-2.0",
        "gcc-runtime-library" | "gcc runtime library" => "GCC-exception-3.1",
        _ => return None,
    };
    Some(format!("{} WITH {id}", identifier(licence)?))
}

/// A name as the part of an identifier: letters, digits, `.` and `-`.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.chars() {
        match letter {
            '+' => slug.push_str("-or-later"),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' => slug.push(letter),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
        if slug.len() >= 64 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        "unnamed".to_owned()
    } else {
        slug.to_owned()
    }
}
