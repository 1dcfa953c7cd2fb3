//! Git addresses in ADD and named contexts.

/// A git address, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GitAddress {
    /// Without query and fragment: what git itself is given.
    pub remote: String,
    /// Host (with port) and path: what the source is named by.
    pub name: String,
    /// Over SSH.
    pub ssh: bool,
    /// Branch, tag or commit; empty for the remote's default.
    pub reference: String,
    /// Directory inside the repository; empty for all of it.
    pub subdir: String,
    /// The commit that it must be.
    pub checksum: String,
    /// Whether `.git` is kept, where the address says so.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, where the address says so.
    pub submodules: Option<bool>,
    /// The commit is fetched without asking what the name stands for.
    pub fetch_by_commit: bool,
}

/// Reads `address` as a git source: `None` when it is none (http addresses are
/// only with a path that ends in `.git`).
///
/// # Errors
/// A git address with a query that is not understood.
pub(crate) fn parse(address: &str) -> Option<Result<GitAddress, String>> {
    if address.starts_with("./") || address.starts_with("../") {
        return None;
    }
    let (mut git, query) = match address.split_once("://") {
        Some((scheme, rest)) if is_word(scheme) => from_url(&scheme.to_lowercase(), rest)?,
        _ => from_scp(address)?,
    };
    Some(apply_query(&mut git, &query).map(|()| git))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn from_url(scheme: &str, rest: &str) -> Option<(GitAddress, String)> {
    let is_http = matches!(scheme, "http" | "https");
    if !is_http && !matches!(scheme, "ssh" | "git") {
        return None;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let path = percent_decoded(path)?;
    if is_http && !path.ends_with(".git") {
        return None;
    }
    let (reference, subdir) = split_fragment(&percent_decoded(fragment)?);
    let git = GitAddress {
        remote: format!("{scheme}://{rest}"),
        name: format!("{host}{}", crate::paths::join(&["/", &path])),
        ssh: scheme == "ssh",
        reference,
        subdir,
        ..GitAddress::default()
    };
    Some((git, query.to_owned()))
}

/// `user@host:path[?query][#fragment]`
fn from_scp(address: &str) -> Option<(GitAddress, String)> {
    let (user, rest) = address.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let fits = |text: &str, extra: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    if !fits(user, b"-_") || !fits(host, b"-.") || rest.contains('\n') {
        return None;
    }
    let (path, query, fragment) = match rest.find(['?', '#']) {
        None => (rest, "", ""),
        Some(at) if rest[at..].starts_with('#') => (&rest[..at], "", &rest[at + 1..]),
        Some(at) => {
            let (query, fragment) = rest[at + 1..].split_once('#').unwrap_or((&rest[at + 1..], ""));
            (&rest[..at], query, fragment)
        }
    };
    let (reference, subdir) = split_fragment(fragment);
    let git = GitAddress {
        remote: format!("{user}@{host}:{path}"),
        name: format!("{host}{}", crate::paths::join(&["/", path])),
        ssh: true,
        reference,
        subdir,
        ..GitAddress::default()
    };
    Some((git, query.to_owned()))
}

/// `reference[:subdir]`
fn split_fragment(fragment: &str) -> (String, String) {
    if fragment.is_empty() {
        return Default::default();
    }
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let subdir = crate::paths::join(&["/", subdir]);
    (reference.to_owned(), subdir.trim_start_matches('/').to_owned())
}

fn apply_query(git: &mut GitAddress, query: &str) -> Result<(), String> {
    let mut seen: Vec<String> = Vec::new();
    let (mut tag, mut branch) = (String::new(), String::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| {
            percent_decoded(&text.replace('+', " ")).ok_or_else(|| format!("malformed query `{pair}`"))
        };
        let (key, value) = (decode(key)?, decode(value)?);
        if seen.contains(&key) {
            return Err(format!("query `{key}` is given twice"));
        }
        seen.push(key.clone());
        let flag = |value: &str| match value {
            "" => Ok(true),
            _ => parse_bool(value)
                .ok_or_else(|| format!("`{value}` is no value for query `{key}`, use true or false")),
        };
        if value.is_empty() && !matches!(key.as_str(), "submodules" | "keep-git-dir" | "fetch-by-commit") {
            return Err(format!("query `{key}` has no value"));
        }
        match key.as_str() {
            "ref" => set_once(&mut git.reference, value, "references")?,
            "tag" => tag = value,
            "branch" => branch = value,
            "subdir" => set_once(&mut git.subdir, value, "directories")?,
            "checksum" | "commit" => git.checksum = value,
            "keep-git-dir" => git.keep_git_dir = Some(flag(&value)?),
            "submodules" => git.submodules = Some(flag(&value)?),
            "fetch-by-commit" => git.fetch_by_commit = flag(&value)?,
            "mtime" if matches!(value.as_str(), "checkout" | "commit") => {}
            "mtime" => {
                return Err(format!(
                    "`{value}` is no value for query `mtime`, use checkout or commit"
                ));
            }
            _ => return Err(format!("unknown query `{key}` in a git address")),
        }
    }
    for (kind, name, prefix) in [("tag", &tag, "refs/tags/"), ("branch", &branch, "refs/heads/")] {
        if name.is_empty() {
            continue;
        }
        if kind == "branch" && !tag.is_empty() {
            return Err("a git address has either a tag or a branch, not both".to_owned());
        }
        let full = if name.starts_with(prefix) {
            name.clone()
        } else {
            format!("{prefix}{name}")
        };
        set_once(&mut git.reference, full, "references")?;
    }
    Ok(())
}

fn set_once(known: &mut String, value: String, what: &str) -> Result<(), String> {
    if !known.is_empty() && *known != value {
        return Err(format!("a git address gives two {what}, `{known}` and `{value}`"));
    }
    *known = value;
    Ok(())
}

/// Go's spelling of truth values.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `None` for a stray `%` or bytes that are no UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |b: u8| char::from(b).to_digit(16);
        let value = digit(*high)? * 16 + digit(*low)?;
        bytes.push(u8::try_from(value).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(address: &str) -> GitAddress {
        parse(address).unwrap().unwrap()
    }

    #[test]
    fn addresses() {
        let found = git("https://git.test/team/app.git#main:docs/api");
        assert_eq!(found.remote, "https://git.test/team/app.git");
        assert_eq!(found.name, "git.test/team/app.git");
        assert_eq!(
            (found.reference.as_str(), found.subdir.as_str()),
            ("main", "docs/api")
        );
        let found = git("git@git.test:team/app.git#v2");
        assert_eq!(found.remote, "git@git.test:team/app.git");
        assert!(found.ssh);
        assert_eq!(git("ssh://git@git.test:2222/a.git").name, "git.test:2222/a.git");
        assert_eq!(git("https://h/a.git?tag=v1").reference, "refs/tags/v1");
    }

    #[test]
    fn what_is_no_git_address() {
        for other in [
            "https://h/a.tar",
            "./a.git",
            "a",
            "ftp://h/a.git",
            "file.txt",
            "a@b",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn refused_queries() {
        for bad in [
            "depth=1",
            "ref=",
            "ref=a&ref=b",
            "tag=a&branch=b",
            "mtime=now",
            "submodules=2",
        ] {
            assert!(
                parse(&format!("https://h/a.git?{bad}")).unwrap().is_err(),
                "{bad}"
            );
        }
    }
}
