//! ELF files made by hand.

#![allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests of `elf`, which use more of it"
)]

#[path = "../../../elf/tests/elf/build.rs"]
mod build;

pub(crate) use build::{Build, library, program};
