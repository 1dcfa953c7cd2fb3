//! Whatever the input: no panic, and every span lies inside the text.

use distil_dockerfile::lint::{Checks, Linter, Warning, check_file};
use distil_dockerfile::{
    Command, CommandLine, Dockerfile, LineIndex, Pair, Span, Statement, Word, parse, parse_trigger,
};
use proptest::prelude::*;

/// All spans of a tree.
fn spans(file: &Dockerfile) -> Vec<Span> {
    let mut out = Vec::new();
    let directives = &file.directives;
    for word in [&directives.syntax, &directives.escape, &directives.check]
        .into_iter()
        .flatten()
    {
        out.push(word.span);
    }
    file.meta_args
        .iter()
        .for_each(|arg| statement(&arg.statement, &mut out));
    for stage in &file.stages {
        statement(&stage.statement, &mut out);
        out.extend([stage.span, stage.base.span]);
        out.extend(stage.name.iter().chain(&stage.platform).map(|word| word.span));
        for instruction in &stage.instructions {
            statement(&instruction.statement, &mut out);
            command(&instruction.command, &mut out);
        }
    }
    out.extend(&file.empty_continuations);
    out
}

fn statement(statement: &Statement, out: &mut Vec<Span>) {
    out.extend([statement.span, statement.keyword.span]);
    for flag in &statement.flags {
        out.extend([flag.span, flag.name.span]);
        out.extend(flag.value.iter().map(|value| value.span));
    }
}

fn line(line: &CommandLine, out: &mut Vec<Span>) {
    match line {
        CommandLine::Shell(word) => out.push(word.span),
        CommandLine::Exec(list) => words(list, out),
    }
}

fn words(list: &[Word], out: &mut Vec<Span>) {
    out.extend(list.iter().map(|word| word.span));
}

fn pairs(list: &[Pair], out: &mut Vec<Span>) {
    out.extend(list.iter().flat_map(|pair| [pair.key.span, pair.value.span]));
}

fn command(command: &Command, out: &mut Vec<Span>) {
    match command {
        Command::Copy(copy) => {
            words(&copy.sources.paths, out);
            out.push(copy.sources.dest.span);
            out.extend(copy.sources.inline.iter().map(|file| file.span));
        }
        Command::Add(add) => words(&add.sources.paths, out),
        Command::Arg(args) => out.extend(args.iter().map(|arg| arg.key.span)),
        Command::Cmd(command) | Command::Entrypoint(command) => line(command, out),
        Command::Env(list) | Command::Label(list) => pairs(list, out),
        Command::Expose(list) | Command::Shell(list) | Command::Volume(list) => words(list, out),
        Command::Maintainer(word)
        | Command::Stopsignal(word)
        | Command::User(word)
        | Command::Workdir(word) => {
            out.push(word.span);
        }
        Command::Onbuild(onbuild) => out.push(onbuild.keyword.span),
        Command::Run(run) => {
            line(&run.command, out);
            out.extend(run.heredocs.iter().map(|heredoc| heredoc.body));
            out.extend(
                run.mounts
                    .iter()
                    .flat_map(|mount| mount.fields.iter().map(|field| field.span)),
            );
            out.extend(run.devices.iter().map(|device| device.span));
        }
        Command::Healthcheck(_) => {}
    }
}

fn check_span(text: &str, span: Span) {
    assert!(text.get(span.range()).is_some(), "{span:?} in {text:?}");
    let index = LineIndex::new(text);
    assert_eq!(index.line(span.start), span.first_line, "{span:?} in {text:?}");
    assert!(
        span.first_line <= span.last_line && index.text_of(span.last_line).is_some(),
        "{span:?} in {text:?}"
    );
}

fn check(input: &[u8]) {
    match parse(input) {
        Ok(file) => {
            for span in spans(&file) {
                check_span(&file.text, span);
            }
            let checks = Checks::parse("experimental=all").expect("the text is right");
            let keep = |warning: Warning| check_span(&file.text, warning.span);
            check_file(&file, &Linter::new(checks, &keep));
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            if let Ok(text) = std::str::from_utf8(input) {
                errors
                    .iter()
                    .filter_map(|error| error.span)
                    .for_each(|span| check_span(text, span));
            }
        }
    }
}

/// Pieces of the language, which together make files that are nearly right.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "FROM a",
        "FROM a AS b",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "LABEL ",
        "ARG ",
        "CMD ",
        "ENTRYPOINT ",
        "EXPOSE ",
        "HEALTHCHECK ",
        "NONE",
        "MAINTAINER ",
        "ONBUILD ",
        "SHELL ",
        "STOPSIGNAL ",
        "USER ",
        "VOLUME ",
        "WORKDIR ",
        "--mount=type=cache,target=/c ",
        "--from=a ",
        "--chown=\"a b\" ",
        "--",
        "--link ",
        "--interval=5s ",
        "a",
        "b ",
        "k=v ",
        "'",
        "\"",
        "\\",
        "\\\n",
        "`",
        "\n",
        "\n",
        "\r\n",
        " ",
        "\t",
        "#",
        "# escape=`\n",
        "# x y\n",
        "# check=skip=all\n",
        "As B",
        "[\"a\",",
        "\"b\"]",
        "<<E",
        "<<-'E'",
        "E\n",
        "\nE\n",
        "$A",
        "${A:-",
        "}",
        "é",
        "\u{feff}",
        "\u{a0}",
        "\u{2003}",
        ",",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&input);
    }

    #[test]
    fn strings_never_panic(input in "\\PC{0,200}") {
        check(input.as_bytes());
    }

    #[test]
    fn near_files_never_panic(input in pieces()) {
        check(input.as_bytes());
        check(format!("FROM a\n{input}").as_bytes());
        let _ = parse_trigger(&input);
    }

    #[test]
    fn check_options_never_panic(text in "[a-z=;, ]{0,30}") {
        let _ = Checks::parse(&text);
    }

    #[test]
    fn excerpts_never_panic(text in "(\\PC|\n){0,60}", first in 0_u32..9, last in 0_u32..99) {
        let index = LineIndex::new(&text);
        let _ = index.excerpt("f", first, last);
        let _ = index.line_column(last as usize);
    }
}
