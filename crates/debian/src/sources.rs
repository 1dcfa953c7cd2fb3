//! Which mirror a suite is read from.

use crate::deb822;

/// Where Debian is found when nothing else is known.
pub const DEFAULT_ARCHIVE: &str = "http://ftp.debian.org/debian";
/// Where Debian's security updates are found when nothing else is known.
pub const DEFAULT_SECURITY_ARCHIVE: &str = "http://security.debian.org/debian-security";

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Root of the archive, without a slash at the end.
    pub url: String,
    /// `bookworm`, `bookworm-updates`, `bookworm-security`.
    pub suite: String,
    /// `main` and so on.
    pub components: Vec<String>,
}

/// Where the URLs of the sources come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceOrigin {
    /// Named by the user.
    Mirror,
    /// The host's own apt sources.
    Host,
    /// The official archive that is built in.
    BuiltIn,
}

/// The suites that a distribution release consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSources {
    /// In the order base, updates, security.
    pub sources: Vec<Source>,
    /// Where the URLs come from; one that comes from the host is enough for `Host`.
    pub origin: SourceOrigin,
}

impl ArchiveSources {
    /// The suites `codename`, `-updates` and `-security` with component `main`.
    ///
    /// With `mirror`, all are read from it: the security archive from the sibling
    /// directory `debian-security` (as every full mirror has it). Otherwise each
    /// suite is read from where `host` (the parsed apt sources of the host, see
    /// [`parse_apt_sources`]) has it, else from where a host of another release of
    /// Debian has its own, for an archive has all releases; else from the built-in one.
    #[must_use]
    pub fn for_release(codename: &str, mirror: Option<&str>, host: &[Source]) -> ArchiveSources {
        let mut origin = SourceOrigin::BuiltIn;
        let mut sources = Vec::new();
        for (suffix, default) in [
            ("", DEFAULT_ARCHIVE),
            ("-updates", DEFAULT_ARCHIVE),
            ("-security", DEFAULT_SECURITY_ARCHIVE),
        ] {
            let suite = format!("{codename}{suffix}");
            let url = if let Some(mirror) = mirror {
                origin = SourceOrigin::Mirror;
                mirror_url(mirror, suffix == "-security")
            } else if let Some(url) = host_url(host, &suite, suffix) {
                origin = SourceOrigin::Host;
                url
            } else {
                default.to_owned()
            };
            let components = vec!["main".to_owned()];
            sources.push(Source {
                url,
                suite,
                components,
            });
        }
        ArchiveSources { sources, origin }
    }
}

/// Releases whose suites say that a host is a Debian of some release.
const RELEASES: [&str; 10] = [
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "sid",
];

/// Where the host has `suite`, or the same suite of another release.
fn host_url(host: &[Source], suite: &str, suffix: &str) -> Option<String> {
    let has_main = |source: &&Source| source.components.iter().any(|name| name == "main");
    // Others publish packages under Debian's suite names too.
    let is_own = |source: &&Source| {
        let name = source.url.rsplit('/').next().unwrap_or_default();
        name == "debian" || name == "debian-security"
    };
    let same = || {
        host.iter()
            .filter(has_main)
            .filter(|source| source.suite == suite)
    };
    let of_release = |source: &&Source| {
        // `-updates` is in the archive of the release itself.
        let kind = if suffix == "-security" { suffix } else { "" };
        let release = source.suite.strip_suffix(kind).unwrap_or_default();
        RELEASES.contains(&release)
    };
    let found = same().find(is_own).or_else(|| same().next());
    let found = found.or_else(|| host.iter().filter(has_main).filter(is_own).find(of_release));
    found.map(|source| source.url.clone())
}

/// `http://m/debian` has its security archive at `http://m/debian-security`.
fn mirror_url(mirror: &str, security: bool) -> String {
    let mirror = mirror.trim_end_matches('/');
    match (security, mirror.strip_suffix("/debian")) {
        (false, _) => mirror.to_owned(),
        (true, Some(root)) => format!("{root}/debian-security"),
        (true, None) => format!("{mirror}-security"),
    }
}

/// Reads one file of apt's sources: deb822 when `name` ends in `.sources`, else
/// one line a source. Sources that are disabled, for source packages, flat, or
/// not reachable by http, https or file are left out; so are parts that cannot
/// be read, for they are the host's affair.
#[must_use]
pub fn parse_apt_sources(name: &str, text: &str) -> Vec<Source> {
    let found = if name.ends_with(".sources") {
        deb822::paragraphs(text)
            .flat_map(|one| parse_paragraph(&one))
            .collect()
    } else {
        text.lines().filter_map(parse_line).collect::<Vec<_>>()
    };
    found.into_iter().filter(is_usable).collect()
}

fn is_usable(source: &Source) -> bool {
    let known = ["http://", "https://", "file:"];
    known.iter().any(|scheme| source.url.starts_with(scheme)) && !source.suite.ends_with('/')
}

fn parse_paragraph(paragraph: &deb822::Paragraph<'_>) -> Vec<Source> {
    let words = |name: &str| -> Vec<String> {
        let value = paragraph.get(name).unwrap_or("");
        value
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(str::split_ascii_whitespace)
            .map(str::to_owned)
            .collect()
    };
    let disabled = paragraph
        .get("Enabled")
        .is_some_and(|value| matches!(value, "no" | "false" | "0" | "off" | "without" | "disable"));
    if disabled || !words("Types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let (suites, components) = (words("Suites"), words("Components"));
    words("URIs")
        .into_iter()
        .flat_map(|url| {
            let components = components.clone();
            suites.clone().into_iter().map(move |suite| Source {
                url: url.trim_end_matches('/').to_owned(),
                suite,
                components: components.clone(),
            })
        })
        .collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    if let Some(options) = rest.strip_prefix('[') {
        rest = options.split_once(']')?.1;
    }
    let mut words = rest.split_ascii_whitespace();
    let url = words.next()?.trim_end_matches('/').to_owned();
    let suite = words.next()?.to_owned();
    let components: Vec<String> = words.map(str::to_owned).collect();
    (!components.is_empty()).then_some(Source {
        url,
        suite,
        components,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# comment\ndeb [arch=amd64 signed-by=/k] http://m.example/debian/ bookworm main contrib # x\ndeb-src http://m.example/debian bookworm main\ndeb cdrom:[x]/ bookworm main\ndeb http://flat.example/ ./\n";
    const DEB822: &str = "Types: deb deb-src\n# old: http://x/\nURIs: http://m.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\nEnabled: no\nTypes: deb\nURIs: http://off.example\nSuites: trixie\nComponents: main\n";

    fn source(url: &str, suite: &str, components: &[&str]) -> Source {
        Source {
            url: url.to_owned(),
            suite: suite.to_owned(),
            components: components.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    #[test]
    fn reads_both_formats() {
        assert_eq!(
            parse_apt_sources("sources.list", LIST),
            [source(
                "http://m.example/debian",
                "bookworm",
                &["main", "contrib"]
            )]
        );
        assert_eq!(
            parse_apt_sources("debian.sources", DEB822),
            [
                source("http://m.example/debian", "trixie", &["main"]),
                source("http://m.example/debian", "trixie-updates", &["main"]),
            ]
        );
    }

    #[test]
    fn chooses_mirrors() {
        let urls = |sources: &ArchiveSources| -> Vec<String> {
            sources.sources.iter().map(|one| one.url.clone()).collect()
        };
        let host = parse_apt_sources("x.sources", DEB822);
        let chosen = ArchiveSources::for_release("trixie", None, &host);
        assert_eq!(chosen.origin, SourceOrigin::Host);
        assert_eq!(
            urls(&chosen),
            [
                "http://m.example/debian",
                "http://m.example/debian",
                DEFAULT_SECURITY_ARCHIVE
            ]
        );
        // The archive of a host of another release has this one too.
        let chosen = ArchiveSources::for_release("bookworm", None, &host);
        assert_eq!(chosen.origin, SourceOrigin::Host);
        assert_eq!(
            urls(&chosen),
            [
                "http://m.example/debian",
                "http://m.example/debian",
                DEFAULT_SECURITY_ARCHIVE
            ]
        );
        let security = parse_apt_sources(
            "x.list",
            "deb http://m.example/debian-security trixie-security main",
        );
        let chosen = ArchiveSources::for_release("bookworm", None, &security);
        assert_eq!(urls(&chosen)[0], DEFAULT_ARCHIVE);
        assert_eq!(urls(&chosen)[2], "http://m.example/debian-security");
        // Neither another distribution's archive nor somebody's packages for Debian.
        let foreign = "deb http://u.example/ubuntu noble main\ndeb http://t.example/tools trixie main\n";
        let foreign = parse_apt_sources("x.list", foreign);
        let chosen = ArchiveSources::for_release("bookworm", None, &foreign);
        assert_eq!(chosen.origin, SourceOrigin::BuiltIn);
        assert_eq!(urls(&chosen)[0], DEFAULT_ARCHIVE);
        let chosen = ArchiveSources::for_release("bookworm", Some("http://n.example/debian/"), &host);
        assert_eq!(chosen.origin, SourceOrigin::Mirror);
        assert_eq!(urls(&chosen)[2], "http://n.example/debian-security");
    }
}
