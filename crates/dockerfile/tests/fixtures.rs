//! Folders with a Dockerfile and what it must become: `tree.txt` (the tree, each word with its place) or
//! `errors.txt` (all errors, with excerpts). With `BLESS=1` in the environment the expectations are written anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use distil_dockerfile::{
    Command, CommandLine, Diagnostic, Dockerfile, Healthcheck, Heredoc, LineIndex, Pair, Sources, Span,
    Statement, Word, parse,
};

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = std::fs::read_dir(root)
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = entries.collect();
    folders.sort();
    folders
}

#[test]
fn fixtures() {
    let mut wrong = Vec::new();
    for folder in folders() {
        let input = std::fs::read(folder.join("Dockerfile")).expect("a Dockerfile");
        let (name, actual) = match parse(&input) {
            Ok(file) => ("tree.txt", Printer::new(&file.text).file(&file)),
            Err(errors) => (
                "errors.txt",
                print_errors(&String::from_utf8_lossy(&input), &errors),
            ),
        };
        let path = folder.join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &actual).expect("a writable fixture");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if actual != expected {
            wrong.push(format!(
                "{}\nexpected:\n{expected}\nactual:\n{actual}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn print_errors(text: &str, errors: &[Diagnostic]) -> String {
    let index = LineIndex::new(text);
    let mut out = String::new();
    for error in errors {
        let _ = writeln!(out, "error: {}", error.message);
        if let Some(help) = &error.help {
            let _ = writeln!(out, "help: {help}");
        }
        if let Some(span) = error.span {
            let (line, column) = index.line_column(span.start);
            let _ = writeln!(out, "at {line}:{column}: `{}`", &text[span.range()]);
            out.push_str(&index.excerpt("Dockerfile", span.first_line, span.last_line));
        }
        out.push('\n');
    }
    out
}

struct Printer<'a> {
    index: LineIndex<'a>,
    out: String,
}

impl<'a> Printer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            index: LineIndex::new(text),
            out: String::new(),
        }
    }

    fn file(mut self, file: &Dockerfile) -> String {
        let directives = &file.directives;
        for (name, value) in [
            ("syntax", &directives.syntax),
            ("escape", &directives.escape),
            ("check", &directives.check),
        ] {
            self.option(name, value.as_ref());
        }
        for meta in &file.meta_args {
            self.statement(&meta.statement);
            self.command(&Command::Arg(meta.args.clone()));
        }
        for stage in &file.stages {
            self.statement(&stage.statement);
            self.word("base", &stage.base);
            self.option("name", stage.name.as_ref());
            self.option("platform", stage.platform.as_ref());
            self.note("doc", stage.doc.as_deref());
            for instruction in &stage.instructions {
                self.statement(&instruction.statement);
                self.command(&instruction.command);
            }
        }
        for span in &file.empty_continuations {
            let _ = writeln!(
                self.out,
                "empty continuation in lines {}-{}",
                span.first_line, span.last_line
            );
        }
        self.out
    }

    fn place(&self, span: Span) -> String {
        let (line, column) = self.index.line_column(span.start);
        let (last, end) = self.index.line_column(span.end);
        if line == last {
            format!("{line}:{column}-{end}")
        } else {
            format!("{line}:{column}-{last}:{end}")
        }
    }

    fn statement(&mut self, statement: &Statement) {
        let place = self.place(statement.span);
        let _ = writeln!(
            self.out,
            "{} {place} {:?}",
            statement.keyword.value, statement.text
        );
        for comment in &statement.comments {
            let _ = writeln!(self.out, "    comment {comment:?}");
        }
        for flag in &statement.flags {
            let place = self.place(flag.span);
            let value = flag
                .value
                .as_ref()
                .map(|value| format!(" = {} {:?}", self.place(value.span), value.value));
            let _ = writeln!(
                self.out,
                "    --{} {place}{}",
                flag.name.value,
                value.unwrap_or_default()
            );
        }
    }

    fn word(&mut self, name: &str, word: &Word) {
        let place = self.place(word.span);
        let _ = writeln!(self.out, "    {name} {place} {:?}", word.value);
    }

    fn words(&mut self, name: &str, words: &[Word]) {
        words.iter().for_each(|word| self.word(name, word));
    }

    fn option(&mut self, name: &str, word: Option<&Word>) {
        if let Some(word) = word {
            self.word(name, word);
        }
    }

    fn note(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            let _ = writeln!(self.out, "    {name} {text:?}");
        }
    }

    fn line(&mut self, line: &CommandLine) {
        match line {
            CommandLine::Shell(word) => self.word("shell", word),
            CommandLine::Exec(words) if words.is_empty() => self.note("exec", Some("")),
            CommandLine::Exec(words) => self.words("exec", words),
        }
    }

    fn pairs(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            self.word(if pair.legacy { "legacy key" } else { "key" }, &pair.key);
            self.word("value", &pair.value);
        }
    }

    fn heredocs(&mut self, heredocs: &[Heredoc]) {
        for heredoc in heredocs {
            let (
                place,
                Heredoc {
                    name,
                    expand,
                    strip_tabs,
                    ..
                },
            ) = (self.place(heredoc.body), heredoc);
            let _ = writeln!(
                self.out,
                "    heredoc {name} expand={expand} tabs={strip_tabs} {place}"
            );
            self.note("text", Some(&heredoc.text()));
        }
    }

    fn sources(&mut self, sources: &Sources) {
        self.words("source", &sources.paths);
        for file in &sources.inline {
            let place = self.place(file.span);
            let _ = writeln!(
                self.out,
                "    inline {place} {} expand={} {:?}",
                file.name, file.expand, file.content
            );
        }
        self.word("dest", &sources.dest);
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Add(add) => {
                self.sources(&add.sources);
                let rest = (add.link, add.keep_git_dir, add.unpack, add.exclude.len());
                let _ = writeln!(self.out, "    link, keep-git-dir, unpack, excludes {rest:?}");
            }
            Command::Arg(args) => {
                for arg in args {
                    self.word("key", &arg.key);
                    self.option("default", arg.value.as_ref());
                    self.note("doc", arg.doc.as_deref());
                }
            }
            Command::Cmd(line) | Command::Entrypoint(line) => self.line(line),
            Command::Copy(copy) => {
                self.sources(&copy.sources);
                let _ = writeln!(
                    self.out,
                    "    link, parents, excludes {:?}",
                    (copy.link, copy.parents, copy.exclude.len())
                );
            }
            Command::Env(pairs) | Command::Label(pairs) => self.pairs(pairs),
            Command::Expose(words) | Command::Shell(words) | Command::Volume(words) => {
                self.words("word", words);
            }
            Command::Healthcheck(Healthcheck::None) => self.note("none", Some("")),
            Command::Healthcheck(Healthcheck::Cmd(check)) => {
                self.line(&check.command);
                let times = (
                    check.interval,
                    check.timeout,
                    check.start_period,
                    check.start_interval,
                    check.retries,
                );
                let _ = writeln!(self.out, "    times {times:?}");
            }
            Command::Maintainer(word)
            | Command::Stopsignal(word)
            | Command::User(word)
            | Command::Workdir(word) => {
                self.word("text", word);
            }
            Command::Onbuild(onbuild) => {
                self.word("trigger", &onbuild.keyword);
                self.note("stored", Some(&onbuild.trigger));
            }
            Command::Run(run) => {
                for mount in &run.mounts {
                    for field in &mount.fields {
                        let place = self.place(field.span);
                        let _ = writeln!(self.out, "    mount {place} {:?}", field.text);
                    }
                }
                let _ = writeln!(
                    self.out,
                    "    network, security {:?}",
                    (run.network, run.security)
                );
                self.line(&run.command);
                self.heredocs(&run.heredocs);
            }
        }
    }
}
