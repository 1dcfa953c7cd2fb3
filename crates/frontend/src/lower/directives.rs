//! What the comments at the top of the file ask for.

use distil_dockerfile::lint::Checks;
use distil_dockerfile::{Diagnostic, Dockerfile, Span};

use super::Result;
use crate::Options;

/// Refuses a file that asks for another frontend than this one, which would have to
/// be pulled and run. `docker/dockerfile` of any registry and version is this one.
///
/// To be called before the file is parsed: what another frontend reads need not
/// look like a Dockerfile.
///
/// # Errors
/// The frontend that `# syntax=` (or `// syntax=`, `{"syntax": ..}`) or the build
/// argument `BUILDKIT_SYNTAX` names.
pub fn check_frontend(source: &[u8], options: &Options) -> Result<(), Diagnostic> {
    if options.syntax_served {
        return Ok(());
    }
    let text = String::from_utf8_lossy(source);
    let (name, span) = match options.build_args.get("BUILDKIT_SYNTAX") {
        Some(given) => (
            given.split_whitespace().next().unwrap_or_default().to_owned(),
            None,
        ),
        None => match requested_frontend(&text) {
            Some((name, span)) => (name, Some(span)),
            None => return Ok(()),
        },
    };
    if is_own_frontend(&name) {
        return Ok(());
    }
    let error = Diagnostic {
        message: format!("the frontend `{name}` is not supported"),
        span,
        help: None,
    };
    Err(error.with_help("`docker/dockerfile` is built in; remove the syntax line to use it"))
}

/// The first word of the syntax directive, and its line.
fn requested_frontend(text: &str) -> Option<(String, Span)> {
    let start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut lines = Vec::new();
    let mut at = start;
    for (number, line) in (1_u32..).zip(text[start..].split_inclusive('\n')) {
        let span = Span {
            start: at,
            end: at + line.trim_end().len(),
            first_line: number,
            last_line: number,
        };
        at += line.len();
        if number > 1 || !line.starts_with("#!") {
            lines.push((line.trim(), span));
        }
    }
    let in_comments = ["#", "//"].iter().find_map(|prefix| {
        lines
            .iter()
            .map_while(|(line, span)| Some((directive(line.strip_prefix(prefix)?)?, *span)))
            .find_map(|((key, value), span)| (key == "syntax").then(|| (value.to_owned(), span)))
    });
    in_comments.or_else(|| {
        let (_, span) = *lines.first()?;
        let mut values =
            serde_json::Deserializer::from_str(&text[span.start..]).into_iter::<serde_json::Value>();
        let value = values.next()?.ok()?;
        let name = value.get("syntax")?.as_str()?.split_whitespace().next()?;
        Some((name.to_owned(), span))
    })
}

/// `key = value` of a comment that is a parser directive; the value's first word.
fn directive(comment: &str) -> Option<(String, &str)> {
    let (key, value) = comment.split_once('=')?;
    let key = key.trim().to_ascii_lowercase();
    let value = value.split_whitespace().next()?;
    ["syntax", "escape", "check"]
        .contains(&key.as_str())
        .then_some((key, value))
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

/// Which build checks apply: the build argument `BUILDKIT_DOCKERFILE_CHECK` replaces the directive.
pub(super) fn checks(dockerfile: &Dockerfile, options: &Options) -> Result<Checks> {
    let given = options.build_args.get("BUILDKIT_DOCKERFILE_CHECK");
    let directive = dockerfile.directives.check.as_ref();
    let (text, place) = match (given, directive) {
        (Some(given), _) => (given.as_str(), None),
        (None, Some(word)) => (word.value.as_str(), Some(word.span)),
        (None, None) => return Ok(Checks::default()),
    };
    Checks::parse(text).map_err(|problem| {
        Diagnostic {
            message: problem.to_string(),
            span: place,
            help: None,
        }
        .with_help("use `skip=Rule,...`, `error=true` or `experimental=Rule,...`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_frontends() {
        for (text, wanted) in [
            ("# syntax=a/b:1 cmd\nFROM x\n", Some("a/b:1")),
            ("#!/usr/bin/x\n#Syntax = a\n", Some("a")),
            ("# escape=`\n# syntax=a\n", Some("a")),
            ("// syntax=a\nanything\n", Some("a")),
            ("{\"syntax\": \"a b\"}\nanything", Some("a")),
            ("\u{feff}# syntax=a", Some("a")),
            ("# a comment\n# syntax=a\n", None),
            ("\n# syntax=a\n", None),
            ("# other=1\n# syntax=a\n", None),
            ("FROM x\n", None),
            ("", None),
        ] {
            assert_eq!(
                requested_frontend(text).map(|(name, _)| name).as_deref(),
                wanted,
                "{text}"
            );
        }
    }

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
