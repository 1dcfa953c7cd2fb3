//! From arguments to typed instructions.

use super::arguments::Arguments;
use super::flags::Flags;
use super::heredoc;
use super::keyword::Keyword;
use super::line::Line;
use super::{healthcheck, run};
use crate::ast::{
    Add, ArgPair, Command, CommandLine, Copy, Heredoc, InlineFile, Onbuild, Pair, Sources, Statement,
};
use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned, Word};

/// All that is known of one instruction but its meaning.
pub(super) struct Request<'a> {
    pub(super) keyword: Keyword,
    pub(super) statement: &'a Statement,
    pub(super) arguments: Arguments,
    pub(super) flags: Flags<'a>,
    pub(super) heredocs: Vec<Heredoc>,
    pub(super) line: &'a Line<'a>,
}

impl Request<'_> {
    /// The place of the name, for errors about arguments that are missing.
    pub(super) fn name_span(&self) -> Span {
        self.statement.keyword.span
    }

    pub(super) fn error(&self, problem: &str) -> Diagnostic {
        Diagnostic::new(format!("{} {problem}", self.keyword.name()), self.name_span())
    }

    fn at_least_one(&self) -> Diagnostic {
        self.error("needs at least one argument")
    }

    /// The one argument of an instruction that takes the whole rest of the line.
    fn text(&self) -> Result<Word, Diagnostic> {
        match &self.arguments {
            Arguments::Text(Some(word)) => Ok(word.clone()),
            _ => Err(self.error("needs an argument")),
        }
    }

    fn words(&self) -> Result<Vec<Word>, Diagnostic> {
        match &self.arguments {
            Arguments::Words(words) | Arguments::Json(words) if !words.is_empty() => Ok(words.clone()),
            _ => Err(self.at_least_one()),
        }
    }

    pub(super) fn command_line(&self) -> CommandLine {
        command_line(&self.arguments, self.end_of_line())
    }

    /// An empty place behind the instruction.
    fn end_of_line(&self) -> Span {
        let end = self.line.text.len();
        self.line.span(&(end..end))
    }
}

/// Shell or exec form; `end` is the place of a command that is not there.
pub(super) fn command_line(arguments: &Arguments, end: Span) -> CommandLine {
    match arguments {
        Arguments::Json(words) => CommandLine::Exec(words.clone()),
        Arguments::Text(Some(word)) => CommandLine::Shell(word.clone()),
        _ => CommandLine::Shell(Spanned::new(String::new(), end)),
    }
}

/// Builds any instruction but `FROM`.
pub(super) fn build(request: Request<'_>) -> Result<Command, Vec<Diagnostic>> {
    match request.keyword {
        Keyword::Run => run::build(request).map(Command::Run),
        _ => build_other(request).map_err(|error| vec![error]),
    }
}

fn build_other(request: Request<'_>) -> Result<Command, Diagnostic> {
    match request.keyword {
        Keyword::Add => add(&request),
        Keyword::Arg => arg(&request).map(Command::Arg),
        Keyword::Cmd => Ok(Command::Cmd(request.command_line())),
        Keyword::Copy => copy(&request),
        Keyword::Entrypoint => Ok(Command::Entrypoint(request.command_line())),
        Keyword::Env => pairs(request).map(Command::Env),
        Keyword::Expose => request.words().map(Command::Expose),
        Keyword::Healthcheck => healthcheck::build(&request).map(Command::Healthcheck),
        Keyword::Label => pairs(request).map(Command::Label),
        Keyword::Maintainer => request.text().map(Command::Maintainer),
        Keyword::Onbuild => onbuild(&request).map(Command::Onbuild),
        Keyword::Shell => shell(&request).map(Command::Shell),
        Keyword::Stopsignal => request.text().map(Command::Stopsignal),
        Keyword::User => request.text().map(Command::User),
        Keyword::Volume => volume(&request).map(Command::Volume),
        Keyword::Workdir => request.text().map(Command::Workdir),
        Keyword::From | Keyword::Run => Err(request.error("cannot stand here")),
    }
}

fn pairs(request: Request<'_>) -> Result<Vec<Pair>, Diagnostic> {
    let nothing = request.at_least_one();
    let Arguments::Pairs(pairs) = request.arguments else {
        return Err(nothing);
    };
    if pairs.is_empty() {
        return Err(nothing);
    }
    match pairs.iter().find(|pair| pair.key.is_empty()) {
        Some(pair) => Err(blank_name(pair.key.span.to(pair.value.span))),
        None => Ok(pairs),
    }
}

fn blank_name(span: Span) -> Diagnostic {
    Diagnostic::new("a name is missing in front of `=`", span)
        .with_help("write NAME=VALUE without blanks around `=`")
}

pub(super) fn arg(request: &Request<'_>) -> Result<Vec<ArgPair>, Diagnostic> {
    let Arguments::Args(args) = &request.arguments else {
        return Err(request.at_least_one());
    };
    if args.is_empty() {
        return Err(request.at_least_one());
    }
    let build = |(key, value): &(Word, Option<Word>)| {
        if let (true, Some(value)) = (key.is_empty(), value) {
            return Err(blank_name(key.span.to(value.span)));
        }
        let doc = request.statement.doc(key).map(str::to_owned);
        Ok(ArgPair {
            key: key.clone(),
            value: value.clone(),
            doc,
        })
    };
    args.iter().map(build).collect()
}

fn shell(request: &Request<'_>) -> Result<Vec<Word>, Diagnostic> {
    match &request.arguments {
        Arguments::Json(words) if !words.is_empty() => Ok(words.clone()),
        Arguments::Text(Some(word)) => Err(Diagnostic::new(
            "SHELL takes its arguments in JSON form only",
            word.span,
        )
        .with_help("for example `SHELL [\"/bin/bash\", \"-c\"]`")),
        _ => Err(request.at_least_one()),
    }
}

fn volume(request: &Request<'_>) -> Result<Vec<Word>, Diagnostic> {
    let trim = |word: Word| match word.trim() {
        "" => Err(Diagnostic::new("a volume cannot be an empty string", word.span)),
        trimmed => Ok(Spanned::new(trimmed.to_owned(), word.span)),
    };
    request.words()?.into_iter().map(trim).collect()
}

fn copy(request: &Request<'_>) -> Result<Command, Diagnostic> {
    let sources = sources(request)?;
    let flags = &request.flags;
    Ok(Command::Copy(Copy {
        sources,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        closure: flags.switch("closure").unwrap_or(false),
        exclude: flags.texts("exclude"),
    }))
}

fn add(request: &Request<'_>) -> Result<Command, Diagnostic> {
    let sources = sources(request)?;
    let flags = &request.flags;
    Ok(Command::Add(Add {
        sources,
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        checksum: flags.text("checksum"),
        link: flags.switch("link").unwrap_or(false),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
        exclude: flags.texts("exclude"),
    }))
}

fn sources(request: &Request<'_>) -> Result<Sources, Diagnostic> {
    let (Arguments::Words(words) | Arguments::Json(words)) = &request.arguments else {
        return Err(request.at_least_one());
    };
    let Some((dest, given)) = words.split_last().filter(|(_, given)| !given.is_empty()) else {
        return Err(request
            .error("needs at least one source and a destination")
            .with_help(format!("write `{} SOURCE DESTINATION`", request.keyword.name())));
    };
    if heredoc::source(dest).is_some() {
        let message = format!(
            "{} cannot have a heredoc as its destination",
            request.keyword.name()
        );
        return Err(
            Diagnostic::new(message, dest.span).with_help("write the heredoc first and the destination last")
        );
    }
    let mut sources = Sources {
        paths: Vec::new(),
        inline: Vec::new(),
        dest: dest.clone(),
    };
    for word in given {
        match heredoc::source(word) {
            None => sources.paths.push(word.clone()),
            Some(mark) => {
                // Of several with one name the last counts, for all of them.
                let body = request.heredocs.iter().rfind(|heredoc| heredoc.name == mark.name);
                let content = body.map_or_else(String::new, |heredoc| heredoc.content.clone());
                let content = if mark.strip_tabs {
                    heredoc::without_tabs(&content)
                } else {
                    content
                };
                sources.inline.push(InlineFile {
                    name: mark.name,
                    content,
                    expand: mark.expand,
                    span: word.span,
                });
            }
        }
    }
    Ok(sources)
}

fn onbuild(request: &Request<'_>) -> Result<Onbuild, Diagnostic> {
    let Arguments::Trigger(range) = &request.arguments else {
        return Err(request.at_least_one());
    };
    if range.is_empty() {
        return Err(request.error("needs an instruction"));
    }
    let keyword = request.line.split(range.clone()).keyword;
    match Keyword::find(&keyword) {
        Some(Keyword::Onbuild) => {
            return Err(
                Diagnostic::new("ONBUILD cannot hold another ONBUILD", keyword.span)
                    .with_help("triggers run in the image built from this one, not in later ones"),
            );
        }
        Some(refused @ (Keyword::From | Keyword::Maintainer)) => {
            return Err(Diagnostic::new(
                format!("ONBUILD cannot hold {}", refused.name()),
                keyword.span,
            ));
        }
        _ => {}
    }
    let mut trigger = trigger_text(&request.line.text).to_owned();
    for heredoc in &request.heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.content);
        trigger.push_str(&heredoc.name);
    }
    Ok(Onbuild { trigger, keyword })
}

/// The line without `ONBUILD` and the blanks around it; flags of `ONBUILD` itself are refused anyway.
fn trigger_text(line: &str) -> &str {
    let is_space = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | '\r' | ' ');
    let start = line.trim_start_matches(is_space);
    match start.get(..7) {
        Some(name) if name.eq_ignore_ascii_case("ONBUILD") => start[7..].trim_start_matches(is_space),
        _ => line,
    }
}
