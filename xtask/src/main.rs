//! What cargo itself does not do: `check-deps` holds the crate graph to the blueprint, `examples` builds, runs and
//! measures the programs of `examples/`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod deps;
mod examples;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks and measurements of this repository.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Hold the crate graph to the blueprint
    CheckDeps,
    /// Build the examples each way, run, audit and compare them
    Examples(examples::Options),
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::CheckDeps => deps::check_deps(),
        Task::Examples(options) => examples::run(&options),
    }
}
