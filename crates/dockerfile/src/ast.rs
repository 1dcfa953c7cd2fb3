//! The tree that [`parse`](crate::parse) makes. Words are kept unexpanded.

use std::borrow::Cow;
use std::time::Duration;

use crate::mount::MountFlag;
use crate::span::{Span, Word};

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The text that every [`Span`] points into: the input, with bytes that are not UTF-8 replaced by U+FFFD.
    pub text: String,
    /// The parser directives at the top.
    pub directives: Directives,
    /// The escape character of this file.
    pub escape: Escape,
    /// `ARG`s before the first `FROM`, in file order.
    pub meta_args: Vec<ArgInstruction>,
    /// The stages in file order; never empty.
    pub stages: Vec<Stage>,
    /// Instructions that contain an empty continuation line.
    pub empty_continuations: Vec<Span>,
}

/// What the comments at the very top of the file ask of the parser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=` (also `// syntax=`, `{"syntax": ..}`, and after a `#!` line), up to the first blank.
    pub syntax: Option<Word>,
    /// `# escape=`, as typed.
    pub escape: Option<Word>,
    /// `# check=` (also after a `#!` line, never indented), up to the first blank.
    pub check: Option<Word>,
}

/// The character that escapes others and continues lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escape {
    /// `\`, unless a directive says otherwise.
    #[default]
    Backslash,
    /// `` ` ``, customary for Windows images.
    Backtick,
}

impl Escape {
    /// The character itself.
    pub fn char(self) -> char {
        match self {
            Self::Backslash => '\\',
            Self::Backtick => '`',
        }
    }
}

/// What every instruction has, whatever its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The instruction's name, as typed.
    pub keyword: Word,
    /// The whole instruction as one line: continuations joined, comment lines inside removed, trimmed, heredoc
    /// bodies left out. It is what BuildKit shows as the command and puts into vertex names.
    pub text: String,
    /// All lines that were read for it: from its first byte that is no blank (a continuation alone counts) to the
    /// end of its last line, heredoc bodies and their terminators included.
    pub span: Span,
    /// Flags in order, as typed. Known ones stand in the payload too.
    pub flags: Vec<Flag>,
    /// The comment lines directly above, without `#`. Directives are not among them.
    pub comments: Vec<String>,
}

impl Statement {
    /// The text behind the first comment line that starts with `name` and a blank: the description of a stage or
    /// an argument.
    pub fn doc(&self, name: &str) -> Option<&str> {
        if name.is_empty() {
            return None;
        }
        self.comments
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    }
}

/// `--name` or `--name=value`. Quotes and escapes are already resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name without dashes.
    pub name: Word,
    /// What follows the first `=`, if there is one.
    pub value: Option<Word>,
    /// The whole flag.
    pub span: Span,
}

/// One `FROM` and the instructions up to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The `FROM` instruction itself.
    pub statement: Statement,
    /// `AS`, as typed, where there is a name.
    pub as_keyword: Option<Word>,
    /// The name, as typed.
    pub typed_name: Option<Word>,
    /// The name in lower case, by which others refer to the stage.
    pub name: Option<Word>,
    /// The base: a stage, a named context or an image, unexpanded.
    pub base: Word,
    /// `--platform=`, unexpanded; absent also when empty.
    pub platform: Option<Word>,
    /// The description from the comment above.
    pub doc: Option<String>,
    /// Everything up to the next `FROM`.
    pub instructions: Vec<Instruction>,
    /// From `FROM` to the end of the stage's last instruction.
    pub span: Span,
}

/// An instruction inside a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What all instructions have.
    pub statement: Statement,
    /// The parsed arguments.
    pub command: Command,
}

/// The arguments of an instruction, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ADD`
    Add(Add),
    /// `ARG`
    Arg(Vec<ArgPair>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<Pair>),
    /// `EXPOSE`: the words in text order; a word may expand to several ports.
    Expose(Vec<Word>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `MAINTAINER`
    Maintainer(Word),
    /// `ONBUILD`
    Onbuild(Onbuild),
    /// `RUN`
    Run(Run),
    /// `SHELL`: never empty.
    Shell(Vec<Word>),
    /// `STOPSIGNAL`
    Stopsignal(Word),
    /// `USER`
    User(Word),
    /// `VOLUME`: trimmed, never empty strings before expansion.
    Volume(Vec<Word>),
    /// `WORKDIR`
    Workdir(Word),
}

/// An `ARG` before the first `FROM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgInstruction {
    /// What all instructions have.
    pub statement: Statement,
    /// The names, with or without defaults, in order.
    pub args: Vec<ArgPair>,
}

/// One name of an `ARG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgPair {
    /// The name; never expanded.
    pub key: Word,
    /// The default; `None` for a bare name.
    pub value: Option<Word>,
    /// The description from the comment above.
    pub doc: Option<String>,
}

/// One pair of an `ENV` or `LABEL`; both sides are expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The left side; not empty before expansion.
    pub key: Word,
    /// The right side.
    pub value: Word,
    /// Written in the legacy form `key rest of line`, without `=`.
    pub legacy: bool,
}

/// A command in shell form or exec form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// One text for the shell, empty when nothing was given.
    Shell(Word),
    /// A JSON array of arguments, possibly empty.
    Exec(Vec<Word>),
}

/// The arguments of `COPY` and `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Paths (for `ADD` also URLs) in order; empty when all sources are heredocs.
    pub paths: Vec<Word>,
    /// Heredoc sources in order. They are copied after the paths.
    pub inline: Vec<InlineFile>,
    /// The last argument.
    pub dest: Word,
}

/// A heredoc as a source of `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// The file's name: the delimiter.
    pub name: String,
    /// The body, leading tabs already stripped for `<<-`.
    pub content: String,
    /// Whether variables in the body are expanded (the delimiter was not quoted); see
    /// [`Expander::heredoc_body`](crate::expand::Expander::heredoc_body).
    pub expand: bool,
    /// The `<<NAME` word.
    pub span: Span,
}

/// `COPY`. String flags are absent also when their value is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Sources and destination.
    pub sources: Sources,
    /// `--from=`: a stage, an index, a named context or an image; expansion is refused there.
    pub from: Option<Word>,
    /// `--chown=`, expanded.
    pub chown: Option<Word>,
    /// `--chmod=`, expanded.
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--closure`, distil's own: everything that the files need to run comes along.
    pub closure: bool,
    /// `--exclude=`, repeatable, never expanded.
    pub exclude: Vec<Word>,
}

/// `ADD`. String flags are absent also when their value is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Sources and destination.
    pub sources: Sources,
    /// `--chown=`, expanded.
    pub chown: Option<Word>,
    /// `--chmod=`, expanded.
    pub chmod: Option<Word>,
    /// `--checksum=`, expanded.
    pub checksum: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--keep-git-dir`, where given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, where given.
    pub unpack: Option<bool>,
    /// `--exclude=`, repeatable, never expanded.
    pub exclude: Vec<Word>,
}

/// `RUN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `--mount=` flags, unexpanded; [`MountFlag::resolve`] makes them [`Mount`](crate::Mount)s.
    pub mounts: Vec<MountFlag>,
    /// `--network=`; [`Network::Default`] when not given.
    pub network: Network,
    /// `--security=`; [`Security::Sandbox`] when not given.
    pub security: Security,
    /// `--device=` flags.
    pub devices: Vec<Device>,
    /// The command.
    pub command: CommandLine,
    /// Heredocs in order of appearance; empty in exec form. Their bodies are not part of `command`.
    pub heredocs: Vec<Heredoc>,
}

impl Run {
    /// The heredoc that is the whole command, as in `RUN <<EOF`: its text is the script. In any other command that
    /// has heredocs the shell reads them, from the line, each [`Heredoc::content`] and its name below.
    pub fn script(&self) -> Option<&Heredoc> {
        match (&self.command, self.heredocs.first()) {
            (CommandLine::Shell(text), Some(heredoc)) if crate::parse::is_heredoc_word(text) => Some(heredoc),
            _ => None,
        }
    }
}

/// `RUN --network=`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// What the build gives.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// `RUN --security=`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// The usual confinement.
    #[default]
    Sandbox,
    /// Everything allowed.
    Insecure,
}

/// `RUN --device=`: a CDI device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The name as typed; may be empty.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
    /// The flag's value.
    pub span: Span,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes.
    pub name: String,
    /// The file descriptor before `<<`, 0 when none is written.
    pub file_descriptor: u32,
    /// The delimiter was not quoted.
    pub expand: bool,
    /// Written `<<-`: leading tabs are stripped.
    pub strip_tabs: bool,
    /// The lines up to the terminator, as typed, line ends included.
    pub content: String,
    /// The place of the lines, without the terminator.
    pub body: Span,
}

impl Heredoc {
    /// The content, without the leading tabs of each line where `<<-` asks for that.
    pub fn text(&self) -> Cow<'_, str> {
        if self.strip_tabs {
            crate::parse::without_tabs(&self.content).into()
        } else {
            self.content.as_str().into()
        }
    }
}

/// `HEALTHCHECK`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: switches an inherited check off.
    None,
    /// `CMD`
    Cmd(HealthcheckCmd),
}

/// `HEALTHCHECK CMD`. A duration of zero means "not given".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthcheckCmd {
    /// The command; never an empty array.
    pub command: CommandLine,
    /// `--interval=`
    pub interval: Duration,
    /// `--timeout=`
    pub timeout: Duration,
    /// `--start-period=`
    pub start_period: Duration,
    /// `--start-interval=`
    pub start_interval: Duration,
    /// `--retries=`; zero means "not given".
    pub retries: u32,
}

/// `ONBUILD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger as it is stored in the image: the line without `ONBUILD`, and the bodies of its heredocs.
    /// [`parse_trigger`](crate::parse_trigger) reads it.
    pub trigger: String,
    /// The trigger's first word, as typed.
    pub keyword: Word,
}
