//! The command line as its users see it: every command run as a process, on a store and a home of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: a panic is how they fail"
)]

mod additions;
mod audit;
mod browser;
mod builds;
mod checks;
mod compare;
mod debug;

mod cve;
#[path = "../../../elf/tests/elf/build.rs"]
#[allow(dead_code, reason = "shared with the tests of `elf`, which use more of it")]
mod elf_file;
mod images;
mod inside;
mod mounts;
mod one_pass;
mod origins;
mod outputs;
mod preflight;
mod recipes;
mod run;
mod sbom;
mod stopping;
mod terminal;
mod usage;
mod volumes;
mod world;
