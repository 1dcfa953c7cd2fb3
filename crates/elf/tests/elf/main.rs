//! ELF files and closures: files made by hand, files made by a compiler, damaged files.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod build;
mod closures;
mod compiled;
mod data;
mod facts;
mod go;
mod hostile;
mod tree;
