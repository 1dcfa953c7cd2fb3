//! What the comments at the top of the file ask for.

use distil_dockerfile::{Diagnostic, Dockerfile};

use super::Result;
use crate::Options;
use crate::git::parse_bool;

/// `docker/dockerfile` of any registry and version is what this crate is; other
/// frontends would have to be pulled and run.
pub(super) fn check_syntax(dockerfile: &Dockerfile, options: &Options) -> Result<()> {
    if options.syntax_served {
        return Ok(());
    }
    let (name, place) = match (
        options.build_args.get("BUILDKIT_SYNTAX"),
        &dockerfile.directives.syntax,
    ) {
        (Some(given), _) => (given.split_whitespace().next().unwrap_or_default(), None),
        (None, Some(word)) => (word.value.as_str(), Some(word.span)),
        (None, None) => return Ok(()),
    };
    if is_own_frontend(name) {
        return Ok(());
    }
    let message = format!("the frontend `{name}` is not supported");
    let error = match place {
        Some(span) => Diagnostic::new(message, span),
        None => Diagnostic::of_file(message),
    };
    Err(error.with_help("`docker/dockerfile` is built in; remove the syntax line to use it"))
}

fn is_own_frontend(name: &str) -> bool {
    let name = name.split('@').next().unwrap_or(name);
    // A colon behind the last slash starts the tag, one before it a port.
    let repository = match (name.rfind(':'), name.rfind('/')) {
        (Some(colon), Some(slash)) if colon > slash => &name[..colon],
        _ => name,
    };
    ["docker/dockerfile", "docker/dockerfile-upstream"]
        .iter()
        .any(|own| {
            repository
                .strip_suffix(own)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        })
}

/// The check directive itself must be readable, although nothing is checked here.
pub(super) fn check_lint_options(dockerfile: &Dockerfile, options: &Options) -> Result<()> {
    let (text, place) = match (
        options.build_args.get("BUILDKIT_DOCKERFILE_CHECK"),
        &dockerfile.directives.check,
    ) {
        (Some(given), _) => (given.as_str(), None),
        (None, Some(word)) => (word.value.as_str(), Some(word.span)),
        (None, None) => return Ok(()),
    };
    for option in text.split(';').map(str::trim).filter(|option| !option.is_empty()) {
        let problem = match option
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
        {
            Some(("skip" | "experimental", _)) => continue,
            Some(("error", value)) if parse_bool(value).is_some() => continue,
            Some(("error", value)) => format!("`{value}` is no value for the check option `error`"),
            Some((key, _)) => format!("there is no check option `{key}`"),
            None => format!("the check option `{option}` has no value"),
        };
        let error = match place {
            Some(span) => Diagnostic::new(problem, span),
            None => Diagnostic::of_file(problem),
        };
        return Err(error.with_help("use `skip=Rule,...`, `error=true` or `experimental=Rule,...`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_frontends() {
        for name in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.7-labs@sha256:00",
            "registry.test:5000/mirror/docker/dockerfile",
            "docker/dockerfile-upstream:master",
        ] {
            assert!(is_own_frontend(name), "{name}");
        }
        for name in [
            "acme/dockerfile",
            "mydocker/dockerfile",
            "docker/dockerfile-other:1",
            "dockerfile",
            "",
        ] {
            assert!(!is_own_frontend(name), "{name}");
        }
    }
}
