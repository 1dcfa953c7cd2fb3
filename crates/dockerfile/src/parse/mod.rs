//! The parser: text to [`Dockerfile`], every error in one run.
//!
//! It works in the order of BuildKit's parser, because acceptance depends on it: [`reader`] joins physical lines
//! and keeps comments, [`line`] takes off name and flags, [`arguments`] splits the rest as the instruction demands,
//! [`heredoc`] bodies are read, [`instruction`] judges number and meaning.

mod arguments;
mod directive;
mod flags;
mod healthcheck;
mod heredoc;
mod instruction;
mod json;
mod keyword;
mod line;
mod reader;
mod run;
mod stage;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use directive::read as read_directive;
pub(crate) use heredoc::{is_heredoc_word, without_tabs};

use arguments::Arguments;
use flags::Flags;
use instruction::Request;
use keyword::Keyword;
use line::{Line, Parts};
use reader::Reader;

use crate::ast::{ArgInstruction, Command, Directives, Dockerfile, Heredoc, Instruction, Stage, Statement};
use crate::diagnostic::Diagnostic;
use crate::source::{Decoded, LineIndex, decode};
use crate::span::Word;

/// Parses a file. Bytes that are not UTF-8 become U+FFFD; where that would silently change a command or a file
/// (`RUN`, and heredocs that are not expanded) they are an error.
///
/// Everything that BuildKit refuses while it reads the file is refused here, whether or not the stage is built.
/// What it refuses only in stages that are built (expansion, fields of mounts, names of stages and images) is left
/// to the caller.
///
/// # Errors
/// Every error of the file, in file order.
pub fn parse(input: &[u8]) -> Result<Dockerfile, Vec<Diagnostic>> {
    let Decoded { text, replaced } = decode(input);
    let (directives, file) = {
        let index = LineIndex::new(&text);
        let mut file = File::read(&text, &index, &replaced);
        file.check_not_empty();
        let mut directives = directive::detect(&text, &index);
        directives.escape = file.reader.escape_directive.take();
        (directives, file.finish()?)
    };
    let Parsed {
        escape,
        meta_args,
        stages,
        empty_continuations,
    } = file;
    Ok(Dockerfile {
        text,
        directives,
        escape,
        meta_args,
        stages,
        empty_continuations,
    })
}

/// The directives at the top of a file, also of one that is not in Dockerfile syntax at all: `syntax` may name
/// another frontend, which must be looked at before [`parse`]. `escape` is left out, [`Dockerfile`] has it.
pub fn directives(input: &[u8]) -> Directives {
    let Decoded { text, .. } = decode(input);
    directive::detect(&text, &LineIndex::new(&text))
}

/// Parses one `ONBUILD` trigger as it is stored in an image. Spans point into the trigger, not into a file.
///
/// # Errors
/// Every error of the trigger; also when it holds no or more than one instruction.
pub fn parse_trigger(trigger: &str) -> Result<Instruction, Vec<Diagnostic>> {
    let index = LineIndex::new(trigger);
    let mut file = File::read(trigger, &index, &[]);
    if !file.stages.is_empty() || file.count != 1 {
        let message = format!("the ONBUILD trigger `{trigger}` is not a single instruction");
        file.reader.errors.push(Diagnostic::of_file(message));
    }
    // Before any FROM an ARG is held for a global one.
    let arg = file.meta_args.pop().map(|arg| Instruction {
        statement: arg.statement,
        command: Command::Arg(arg.args),
    });
    let found = arg.or_else(|| file.before_from.pop());
    file.finish()?;
    found.ok_or_else(|| vec![Diagnostic::of_file("the ONBUILD trigger is empty")])
}

/// What is left once a file turned out to be free of errors.
struct Parsed {
    escape: crate::ast::Escape,
    meta_args: Vec<ArgInstruction>,
    stages: Vec<Stage>,
    empty_continuations: Vec<crate::span::Span>,
}

/// A file while it is read.
struct File<'a> {
    reader: Reader<'a>,
    /// How many instructions there were, wrong ones included.
    count: usize,
    meta_args: Vec<ArgInstruction>,
    /// Instructions other than `ARG` before the first `FROM`.
    before_from: Vec<Instruction>,
    stages: Vec<Stage>,
    /// A `FROM` that could not be read; what depends on its absence is not reported.
    broken_from: bool,
}

impl<'a> File<'a> {
    fn read(text: &'a str, index: &'a LineIndex<'a>, replaced: &'a [usize]) -> Self {
        let mut file = Self {
            reader: Reader::new(text, index, replaced),
            count: 0,
            meta_args: Vec::new(),
            before_from: Vec::new(),
            stages: Vec::new(),
            broken_from: false,
        };
        while let Some(line) = file.reader.instruction() {
            file.count += 1;
            file.instruction(line);
        }
        file
    }

    fn finish(self) -> Result<Parsed, Vec<Diagnostic>> {
        let mut errors = self.reader.errors;
        if errors.is_empty() {
            return Ok(Parsed {
                escape: self.reader.escape,
                meta_args: self.meta_args,
                stages: self.stages,
                empty_continuations: self.reader.empty_continuations,
            });
        }
        // Stable, and errors of the file as a whole last.
        errors.sort_by_key(|error| error.span.map_or(usize::MAX, |span| span.start));
        Err(errors)
    }

    fn check_not_empty(&mut self) {
        if self.count == 0 {
            let error = Diagnostic::of_file("the file has no instructions");
            self.reader
                .errors
                .push(error.with_help("a Dockerfile begins with `FROM IMAGE`"));
        } else if let (Some(first), false) = (self.before_from.first(), self.broken_from) {
            let keyword = &first.statement.keyword;
            let message = format!("`{}` stands before the first FROM", keyword.value);
            let error = Diagnostic::new(message, keyword.span);
            self.reader
                .errors
                .push(error.with_help("begin with `FROM IMAGE`; only ARG may come before it"));
        } else if self.stages.is_empty() && self.reader.errors.is_empty() {
            let error = Diagnostic::of_file("the file has no stage to build");
            self.reader.errors.push(error.with_help("add `FROM IMAGE`"));
        }
    }

    fn instruction(&mut self, mut line: Line<'a>) {
        let parts = line.split(0..line.text.len());
        let Some(keyword) = Keyword::find(&parts.keyword) else {
            self.unknown(&line, &parts.keyword);
            return;
        };
        let arguments = arguments::read(keyword, &line, parts.rest.clone())
            .and_then(|arguments| check_trigger(arguments, &line));
        let arguments = match arguments {
            Ok(arguments) => arguments,
            Err(error) => return self.reader.errors.push(error),
        };
        let heredocs = self.heredocs(keyword, &arguments, &line);
        if keyword == Keyword::Run && !matches!(arguments, Arguments::Json(_)) {
            self.reader.errors.extend(line.not_utf8.map(not_utf8));
        }
        self.reader.extend(&mut line);
        let statement = statement(&line, &parts);
        let errors_before = self.reader.errors.len();
        let checked = if checks_flags(keyword, &arguments) {
            parts.flags.as_slice()
        } else {
            &[]
        };
        let flags = Flags::check(keyword, checked, &line, &mut self.reader.errors);
        let built = build(Request {
            keyword,
            statement: &statement,
            arguments,
            flags,
            heredocs,
            line: &line,
        });
        match built {
            Ok(Built::Stage(from)) => self.stages.push(from.into_stage(statement)),
            Ok(Built::Command(command)) => self.add(Instruction { statement, command }),
            Err(errors) => self.reader.errors.extend(errors),
        }
        self.broken_from |= keyword == Keyword::From && self.reader.errors.len() > errors_before;
    }

    fn add(&mut self, instruction: Instruction) {
        if let Some(stage) = self.stages.last_mut() {
            stage.span = stage.span.to(instruction.statement.span);
            stage.instructions.push(instruction);
            return;
        }
        let Instruction { statement, command } = instruction;
        match command {
            Command::Arg(args) => self.meta_args.push(ArgInstruction { statement, args }),
            command => self.before_from.push(Instruction { statement, command }),
        }
    }

    /// Reports an unknown instruction. If it was meant to take heredocs, their bodies are skipped, so that they
    /// are not reported as instructions.
    fn unknown(&mut self, line: &Line<'_>, keyword: &Word) {
        let error = Diagnostic::new(format!("unknown instruction `{}`", keyword.value), keyword.span);
        let nearest = Keyword::nearest(keyword);
        let meant = nearest.as_deref().and_then(Keyword::find);
        self.reader.errors.push(match nearest {
            Some(nearest) => error.with_help(format!("did you mean `{nearest}`?")),
            None => error,
        });
        self.broken_from |= meant == Some(Keyword::From);
        if meant.is_some_and(Keyword::takes_heredocs) {
            let back = self.reader.position();
            for mark in heredoc::marks(&line.text).unwrap_or_default() {
                if self.reader.body(&mark.name, mark.strip_tabs).is_none() {
                    self.reader.rewind(back);
                    return;
                }
            }
        }
    }

    /// Reads the bodies of all heredocs that an instruction starts.
    fn heredocs(&mut self, keyword: Keyword, arguments: &Arguments, line: &Line<'_>) -> Vec<Heredoc> {
        if !may_have_heredocs(keyword, arguments, line) {
            return Vec::new();
        }
        let marks = match heredoc::marks(&line.text) {
            Ok(marks) => marks,
            Err(error) => {
                self.reader
                    .errors
                    .push(Diagnostic::new(error.to_string(), line.whole));
                return Vec::new();
            }
        };
        let mut out = Vec::new();
        for mark in marks {
            let Some(body) = self.reader.body(&mark.name, mark.strip_tabs) else {
                let message = format!("the heredoc `{}` is not closed", mark.name);
                let help = format!(
                    "write `{}` alone on the line behind it, without blanks",
                    mark.name
                );
                self.reader
                    .errors
                    .push(Diagnostic::new(message, line.whole).with_help(help));
                break;
            };
            if keyword == Keyword::Run || !mark.expand {
                self.reader.errors.extend(body.not_utf8.map(not_utf8));
            }
            out.push(mark.with_body(body.content, body.span));
        }
        out
    }
}

/// What an instruction turned out to be.
enum Built {
    Stage(stage::From),
    Command(Command),
}

fn build(request: Request<'_>) -> Result<Built, Vec<Diagnostic>> {
    if request.keyword == Keyword::From {
        return stage::build(&request)
            .map(Built::Stage)
            .map_err(|error| vec![error]);
    }
    instruction::build(request).map(Built::Command)
}

fn not_utf8(span: crate::span::Span) -> Diagnostic {
    Diagnostic::new("this is not valid UTF-8", span).with_help("save the file as UTF-8")
}

fn statement(line: &Line<'_>, parts: &Parts) -> Statement {
    Statement {
        keyword: parts.keyword.clone(),
        text: line.text.trim().to_owned(),
        span: line.whole,
        flags: parts.flags.iter().map(|flag| flag.to_flag(line)).collect(),
        comments: line.comments.clone(),
    }
}

/// Some instructions drop their flags without a look at them.
fn checks_flags(keyword: Keyword, arguments: &Arguments) -> bool {
    match keyword {
        Keyword::Arg | Keyword::Stopsignal => false,
        Keyword::Healthcheck => healthcheck::checks_flags(arguments),
        _ => true,
    }
}

/// Reads the arguments of a trigger: their errors count at once, all others when it runs.
fn check_trigger(arguments: Arguments, line: &Line<'_>) -> Result<Arguments, Diagnostic> {
    if let Arguments::Trigger(range) = &arguments {
        trigger_arguments(range, line).transpose()?;
    }
    Ok(arguments)
}

/// The known instruction of a trigger and its arguments. A second `ONBUILD` is refused later.
fn trigger_arguments(
    range: &Range<usize>,
    line: &Line<'_>,
) -> Option<Result<(Keyword, Arguments), Diagnostic>> {
    let parts = line.split(range.clone());
    let keyword = Keyword::find(&parts.keyword).filter(|keyword| *keyword != Keyword::Onbuild)?;
    Some(arguments::read(keyword, line, parts.rest).map(|arguments| (keyword, arguments)))
}

fn may_have_heredocs(keyword: Keyword, arguments: &Arguments, line: &Line<'_>) -> bool {
    let takes = |keyword: Keyword, arguments: &Arguments| {
        keyword.takes_heredocs() && !matches!(arguments, Arguments::Json(_))
    };
    line.text.contains("<<")
        && match arguments {
            Arguments::Trigger(range) => trigger_arguments(range, line)
                .and_then(Result::ok)
                .is_some_and(|(keyword, arguments)| takes(keyword, &arguments)),
            arguments => takes(keyword, arguments),
        }
}
