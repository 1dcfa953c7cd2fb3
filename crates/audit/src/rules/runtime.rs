//! Data that programs read at run time.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::catalog::{
    JAVA_KEYSTORE, LOCALE, MERGED_USR, MIME_TYPES, NAME_SERVICES, NETWORK_NAMES, OS_RELEASE, Rule, ZONE_DATA,
};
use super::{Image, command, quoted};
use crate::{AuditError, Entry, Finding, printable, printable_text};

/// Largest file of this kind that is read.
const LIMIT: u64 = 1 << 20;

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    present(image, NETWORK_NAMES, "/etc/services", found);
    present(image, NETWORK_NAMES, "/etc/protocols", found);
    present(image, MIME_TYPES, "/etc/mime.types", found);
    name_services(image, found)?;
    zones(image, found);
    system(image, found)?;
    locale(image, found);
    keystore(image, found);
    merged_usr(image, found);
    Ok(())
}

fn file<'v>(image: &Image<'v>, path: &str) -> Option<&'v Entry> {
    let entry = image.view.find(Path::new(path), true);
    entry.filter(|entry| entry.node.kind.is_file())
}

fn exists(image: &Image<'_>, path: &str) -> bool {
    image.view.resolve(Path::new(path), true).is_some()
}

fn present(image: &Image<'_>, rule: &Rule, path: &str, found: &mut Vec<Finding>) {
    if file(image, path).is_none() {
        found.push(rule.missing(image, path, format!("there is no `{path}`")));
    }
}

fn text(image: &Image<'_>, entry: &Entry) -> Result<String, AuditError> {
    Ok(String::from_utf8_lossy(&image.view.read_start(entry, LIMIT)?).into_owned())
}

fn name_services(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    const PATH: &str = "/etc/nsswitch.conf";
    let Some(entry) = file(image, PATH) else {
        found.push(NAME_SERVICES.missing(image, PATH, format!("there is no `{PATH}`")));
        return Ok(());
    };
    let text = text(image, entry)?;
    let hosts = text.lines().find_map(|line| line.trim().strip_prefix("hosts:"));
    let sources: Vec<&str> = hosts.unwrap_or_default().split_ascii_whitespace().collect();
    let place = |name: &str| sources.iter().position(|source| *source == name);
    if place("files").is_none() || place("dns").is_none() || place("files") > place("dns") {
        let message = format!("`{PATH}` does not say `hosts: files dns`");
        found.push(NAME_SERVICES.at(image, entry, message));
    }
    Ok(())
}

fn zones(image: &Image<'_>, found: &mut Vec<Finding>) {
    const ZONES: &str = "/usr/share/zoneinfo";
    if !exists(image, ZONES) {
        found.push(ZONE_DATA.missing(image, ZONES, format!("there is no `{ZONES}`")));
    } else if !exists(image, "/usr/share/zoneinfo/US/Eastern") {
        let path = "/usr/share/zoneinfo/US/Eastern";
        let message = "older names of time zones, such as `US/Eastern`, are missing";
        found.push(ZONE_DATA.missing(image, path, message));
    }
}

/// Scanners know a distribution by `os-release`; Trivy knows Debian by `debian_version` alone.
fn system(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    let entry = file(image, "/etc/os-release").or_else(|| file(image, "/usr/lib/os-release"));
    let Some(entry) = entry else {
        found.push(OS_RELEASE.missing(image, "/etc/os-release", "there is no `/etc/os-release`"));
        return Ok(());
    };
    let text = text(image, entry)?;
    let value = |key: &str| {
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix(key))
            .map(|value| value.trim_matches(['"', '\'']))
    };
    let (id, version) = (value("ID="), value("VERSION_ID="));
    if id.is_none_or(str::is_empty) {
        let message = format!("{} has no `ID`", quoted(&entry.path));
        found.push(OS_RELEASE.at(image, entry, message));
    }
    if id == Some("debian") && (version.is_none() || file(image, "/etc/debian_version").is_none()) {
        let message =
            "without `/etc/debian_version` and `VERSION_ID` scanners do not know the release of Debian";
        found.push(OS_RELEASE.missing(image, "/etc/debian_version", message));
    }
    Ok(())
}

fn locale(image: &Image<'_>, found: &mut Vec<Finding>) {
    let config = image.view.config();
    let value = ["LC_ALL", "LANG"]
        .iter()
        .find_map(|name| command::variable(config, name));
    let Some(wanted) = value.filter(|value| !matches!(*value, "" | "C" | "POSIX")) else {
        return;
    };
    // glibc writes the part after the dot in small letters without `-`.
    let (language, charset) = wanted.split_once('.').unwrap_or((wanted, ""));
    let charset = charset.to_ascii_lowercase().replace('-', "");
    let names = [
        wanted.to_owned(),
        format!("{language}.{charset}"),
        language.to_owned(),
    ];
    let folder = Path::new("/usr/lib/locale");
    let there = names
        .iter()
        .any(|name| image.view.resolve(&folder.join(name), true).is_some());
    if there || exists(image, "/usr/lib/locale/locale-archive") || is_musl(image) {
        return;
    }
    let message = format!(
        "LANG names `{}`, which is not in `/usr/lib/locale`",
        printable_text(wanted)
    );
    found.push(LOCALE.of_config(image, "ENV", message));
}

/// musl knows UTF-8 without files.
fn is_musl(image: &Image<'_>) -> bool {
    let names = image
        .view
        .children(Path::new("/lib"))
        .filter_map(|entry| entry.path.file_name());
    names
        .into_iter()
        .any(|name| name.as_bytes().starts_with(b"ld-musl-"))
}

/// A Java runtime looks for certificates in `lib/security/cacerts` of its own.
fn keystore(image: &Image<'_>, found: &mut Vec<Finding>) {
    for entry in image.view.entries() {
        let runtime = entry
            .path
            .ends_with("lib/server/libjvm.so")
            .then(|| entry.path.parent()?.parent());
        let Some(library) = runtime.flatten() else {
            continue;
        };
        let store = library.join("security/cacerts");
        if image.view.resolve(&store, true).is_none() {
            let message = format!("the Java runtime of {} has no certificates", quoted(library));
            let mut finding = JAVA_KEYSTORE.at(image, entry, message);
            finding.path = Some(store);
            found.push(finding);
        }
    }
}

/// Where `/usr` is merged, `/bin`, `/lib` and the like are links with exact targets; a directory in the place of one
/// hides the C library.
fn merged_usr(image: &Image<'_>, found: &mut Vec<Finding>) {
    let names = ["bin", "sbin", "lib", "lib64"];
    let view = image.view;
    let links = |name: &&str| {
        let entry = view.get(&Path::new("/").join(name));
        entry.is_some_and(|entry| entry.target.is_some())
    };
    if !names.iter().any(links) {
        return;
    }
    for name in names {
        let path = format!("/{name}");
        let expected = format!("usr/{name}");
        match view.get(Path::new(&path)) {
            Some(entry) if entry.target.as_ref().is_some_and(|target| *target == *expected) => {}
            Some(entry) => {
                let is = match &entry.target {
                    Some(target) => format!("leads to `{}`", printable(target)),
                    None => "is no link".to_owned(),
                };
                let message =
                    format!("`{path}` {is}, while others lead into `/usr`: it should lead to `{expected}`");
                found.push(MERGED_USR.at(image, entry, message));
            }
            None if exists(image, &format!("/usr/{name}")) => {
                let message = format!("the link `{path}` to `{expected}` is missing");
                found.push(MERGED_USR.missing(image, &path, message));
            }
            None => {}
        }
    }
}
