//! `HEALTHCHECK`.

use std::time::Duration;

use super::arguments::Arguments;
use super::flags::Flags;
use super::instruction::{Request, command_line};
use crate::ast::{CommandLine, Healthcheck, HealthcheckCmd};
use crate::diagnostic::Diagnostic;
use crate::duration;

/// Whether the flags of this instruction are judged: not behind `NONE`.
pub(super) fn checks_flags(arguments: &Arguments) -> bool {
    !matches!(arguments, Arguments::Typed(Some(kind), _) if kind.eq_ignore_ascii_case("NONE"))
}

pub(super) fn build(request: &Request<'_>) -> Result<Healthcheck, Diagnostic> {
    let Arguments::Typed(Some(kind), arguments) = &request.arguments else {
        return Err(request.error("needs `CMD` or `NONE`"));
    };
    let is_empty = match &**arguments {
        Arguments::Json(words) => words.is_empty(),
        Arguments::Text(text) => text.is_none(),
        _ => true,
    };
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if is_empty => Ok(Healthcheck::None),
        "NONE" => Err(Diagnostic::new("HEALTHCHECK NONE takes no arguments", kind.span)),
        "CMD" if is_empty => Err(Diagnostic::new("HEALTHCHECK CMD needs a command", kind.span)),
        "CMD" => command(&request.flags, command_line(arguments, kind.span)).map(Healthcheck::Cmd),
        _ => Err(
            Diagnostic::new(format!("HEALTHCHECK knows no `{}`", kind.value), kind.span)
                .with_help("write `HEALTHCHECK CMD COMMAND` or `HEALTHCHECK NONE`"),
        ),
    }
}

fn command(flags: &Flags<'_>, command: CommandLine) -> Result<HealthcheckCmd, Diagnostic> {
    Ok(HealthcheckCmd {
        command,
        interval: interval(flags, "interval")?,
        timeout: interval(flags, "timeout")?,
        start_period: interval(flags, "start-period")?,
        start_interval: interval(flags, "start-interval")?,
        retries: retries(flags)?,
    })
}

/// A duration of at least 1 ms, or zero.
fn interval(flags: &Flags<'_>, name: &str) -> Result<Duration, Diagnostic> {
    let Some(word) = flags.text(name) else {
        return Ok(Duration::ZERO);
    };
    let refuse = |reason: &str| {
        Diagnostic::new(
            format!("`--{name}` cannot be `{}`: {reason}", word.value),
            word.span,
        )
        .with_help("a duration is a number with a unit, as in `30s` or `1m30s`")
    };
    let nanoseconds = duration::parse(&word).map_err(|reason| refuse(&reason))?;
    match u64::try_from(nanoseconds) {
        Ok(nanoseconds) if nanoseconds == 0 || nanoseconds >= 1_000_000 => {
            Ok(Duration::from_nanos(nanoseconds))
        }
        _ => Err(refuse("it is shorter than 1ms")),
    }
}

fn retries(flags: &Flags<'_>) -> Result<u32, Diagnostic> {
    let Some(word) = flags.text("retries") else {
        return Ok(0);
    };
    let number = word
        .parse::<i32>()
        .ok()
        .and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| {
        Diagnostic::new(format!("`--retries` cannot be `{}`", word.value), word.span)
            .with_help("it is a whole number, not below 0")
    })
}
