//! What the image config says.

use super::catalog::{ENTRYPOINT, NO_ENTRYPOINT, SECRET_IN_CONFIG, SHELL_FORM, TIME, USER_ROOT};
use super::{Image, command, is_executable, permissions::Folded, quoted};
use crate::{Finding, Instruction, printable_text};

/// Clocks of machines differ by less than this, in seconds.
const TOLERANCE: i64 = 86_400;

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) {
    user(image, found);
    start(image, found);
    shell_forms(image, found);
    secrets(image, found);
    times(image, found);
}

fn user(image: &Image<'_>, found: &mut Vec<Finding>) {
    let user = image.view.config().config.user.as_str();
    let name = user.split(':').next().unwrap_or_default();
    if matches!(name, "" | "0" | "root") {
        let message = match name {
            "" => "no USER is set, so the image runs as root".to_owned(),
            name => format!("USER is `{name}`"),
        };
        found.push(USER_ROOT.of_config(image, "USER", message));
    }
}

fn start(image: &Image<'_>, found: &mut Vec<Finding>) {
    let config = image.view.config();
    let Some(program) = command::program(config) else {
        found.push(NO_ENTRYPOINT.about("there is neither ENTRYPOINT nor CMD"));
        return;
    };
    let keyword = if config.config.entrypoint.is_empty() {
        "CMD"
    } else {
        "ENTRYPOINT"
    };
    let name = printable_text(program);
    let message = match command::find(image.view, program) {
        None => format!("`{name}`, which {keyword} names, is not there"),
        Some(entry) if !is_executable(entry) => {
            format!(
                "{}, which {keyword} names, cannot be executed",
                quoted(&entry.path)
            )
        }
        Some(_) => return,
    };
    found.push(ENTRYPOINT.of_config(image, keyword, message));
}

fn shell_forms(image: &Image<'_>, found: &mut Vec<Finding>) {
    let config = &image.view.config().config;
    // Docker and BuildKit write the shell in front of what was written without brackets.
    let default = ["/bin/sh".to_owned(), "-c".to_owned()];
    let shell = if config.shell.is_empty() {
        &default[..]
    } else {
        &config.shell
    };
    for (keyword, words) in [("ENTRYPOINT", &config.entrypoint), ("CMD", &config.cmd)] {
        if words.starts_with(shell) {
            let message = format!("{keyword} is in the shell form");
            found.push(SHELL_FORM.of_config(image, keyword, message));
        }
    }
    let test = config.healthcheck.as_ref().and_then(|check| check.test.first());
    if test.is_some_and(|form| form == "CMD-SHELL") {
        found.push(SHELL_FORM.of_config(image, "HEALTHCHECK", "HEALTHCHECK is in the shell form"));
    }
}

/// Values are never told.
fn secrets(image: &Image<'_>, found: &mut Vec<Finding>) {
    let config = image.view.config();
    for pair in &config.config.env {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        if is_secret(name, value) {
            let message = format!("the variable `{}` holds a secret", printable_text(name));
            let mut finding = SECRET_IN_CONFIG.about(message);
            let mut history = config.history.iter().rev();
            finding.instruction = history.find_map(|entry| {
                let instruction = Instruction::parse(&entry.created_by);
                let sets = instruction.as_str().starts_with("ENV ") && instruction.as_str().contains(name);
                sets.then_some(instruction)
                    .map(|found| without_value(&found, value))
            });
            found.push(finding);
        }
    }
    let mut told: Vec<String> = Vec::new();
    for entry in &config.history {
        for (name, value) in arguments(&entry.created_by) {
            if is_secret(name, value) && !told.iter().any(|other| other == name) {
                told.push(name.to_owned());
                let name = printable_text(name);
                let message = format!("the history tells the value of the build argument `{name}`");
                let mut finding = SECRET_IN_CONFIG.about(message);
                finding.instruction = Some(without_value(&Instruction::parse(&entry.created_by), value));
                found.push(finding);
            }
        }
    }
}

/// An instruction with the secret left out.
fn without_value(instruction: &Instruction, value: &str) -> Instruction {
    Instruction::parse(&instruction.as_str().replace(value, "..."))
}

/// Build arguments with values in a history entry: `ARG NAME=VALUE`, and `|1 NAME=VALUE /bin/sh -c` of a RUN.
fn arguments(created_by: &str) -> impl Iterator<Item = (&str, &str)> {
    let text = created_by.trim();
    let words = text.strip_prefix("RUN ").unwrap_or(text);
    let pairs = match words.strip_prefix('|') {
        Some(rest) => rest.split(" /bin/sh -c ").next().unwrap_or_default(),
        None => words
            .trim_start_matches("/bin/sh -c #(nop)")
            .trim_start()
            .strip_prefix("ARG ")
            .unwrap_or_default(),
    };
    pairs
        .split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
}

/// By the words of the name, as BuildKit's check `SecretsUsedInArgOrEnv` does, or by the form of the value.
fn is_secret(name: &str, value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']);
    let forms = [
        "ghp_",
        "gho_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "sk_live_",
        "AKIA",
        "-----BEGIN ",
    ];
    if forms
        .iter()
        .any(|form| value.len() > form.len() + 8 && value.starts_with(form))
    {
        return true;
    }
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(['_', '-', '.']).collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let is_path = value.starts_with('/');
    let fingerprint = words.contains(&"GPG") && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let public = has(&["PUBLIC", "FILE", "PATH", "DIR"]) || fingerprint;
    let secret = [
        "APIKEY",
        "AUTH",
        "CREDENTIAL",
        "CREDENTIALS",
        "KEY",
        "PASSWD",
        "PASSWORD",
        "PWORD",
        "SECRET",
        "TOKEN",
    ];
    !value.is_empty() && !is_path && !public && has(&secret)
}

fn times(image: &Image<'_>, found: &mut Vec<Finding>) {
    let limit = image.now.saturating_add(TOLERANCE);
    let created = image.view.config().created.as_deref();
    if let Some(created) = created.filter(|created| year_of(created) > year(limit)) {
        found.push(TIME.about(format!(
            "the image was made in the future: `{}`",
            printable_text(created)
        )));
    }
    let mut folded = Folded::new(TIME);
    let entries = image.view.entries().iter();
    entries
        .filter(|entry| entry.node.mtime.secs > limit)
        .for_each(|entry| folded.add(entry));
    folded.report(image, found, |entry| {
        format!("{} was changed in the future", quoted(&entry.path))
    });
}

/// The year of an RFC 3339 time, 0 when it has none.
fn year_of(time: &str) -> i64 {
    time.get(..4).and_then(|year| year.parse().ok()).unwrap_or(0)
}

/// The year of a time in seconds since 1970, give or take a day.
fn year(seconds: i64) -> i64 {
    1970 + seconds.div_euclid(31_556_952)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_by_name_and_form() {
        for (name, value, expected) in [
            ("DB_PASSWORD", "hunter2", true),
            ("API-KEY", "x", true),
            ("TOKEN", "", false),
            ("TOKEN_FILE", "x", false),
            ("SSH_AUTH_SOCK", "/run/agent", false),
            ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D", false),
            ("PUBLIC_KEY", "x", false),
            ("KEYBOARD", "de", false),
            ("X", "ghp_0123456789abcdef", true),
            ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt", false),
        ] {
            assert_eq!(is_secret(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn arguments_in_the_history() {
        for (created_by, expected) in [
            ("ARG TOKEN=abc", vec![("TOKEN", "abc")]),
            ("/bin/sh -c #(nop)  ARG TOKEN=abc", vec![("TOKEN", "abc")]),
            (
                "RUN |2 A=1 TOKEN=abc /bin/sh -c make # buildkit",
                vec![("A", "1"), ("TOKEN", "abc")],
            ),
            ("RUN /bin/sh -c TOKEN=x make", vec![]),
            ("ARG TOKEN", vec![]),
        ] {
            assert_eq!(
                arguments(created_by).collect::<Vec<_>>(),
                expected,
                "{created_by}"
            );
        }
    }
}
