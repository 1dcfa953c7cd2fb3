//! Whether an image can run, found without running it.
//!
//! The checks follow the command of the image: the program, the interpreters of scripts, the loader, libraries and
//! versions of their symbols, as the user that the config names. Of the files that the build itself brought
//! ([`Subject::base_layers`] tells them apart) they look at programs and libraries that were copied in, Python
//! packages, Java classes and native addons of Node.js; what a base image brings is taken to be whole.
//!
//! An error means that the image does not start, or that a part fails for certain; a warning that a part may fail;
//! a note that it runs, but not everywhere.

mod brought;
mod command;
mod image;
mod java;
mod libraries;
mod linked;
mod node;
mod packages;
mod program;
mod python;
mod record;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a panic is how they fail")]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod user;
mod zip;

use distil_elf::Stage;

pub use image::{LayerDir, Subject};
pub use java::compiled_for;
pub use libraries::{Depth, Lack, Linkage, Linked};
pub use packages::{Release, package_of};
pub use record::{decode, encode};

use crate::{AuditError, Finding};

/// Names of the checks; stable.
pub mod id {
    /// The program of the command is not in the image.
    pub const COMMAND_NOT_FOUND: &str = "command-not-found";
    /// The user of the image may not execute it.
    pub const COMMAND_NOT_EXECUTABLE: &str = "command-not-executable";
    /// It is neither an ELF file nor a script.
    pub const COMMAND_FORMAT: &str = "command-format";
    /// It is a program for another machine.
    pub const WRONG_ARCHITECTURE: &str = "wrong-architecture";
    /// The interpreter of a script is not in the image.
    pub const MISSING_INTERPRETER: &str = "missing-interpreter";
    /// The loader of a dynamic program is not in the image.
    pub const MISSING_LOADER: &str = "missing-loader";
    /// A shared library is not where the loader looks.
    pub const MISSING_LIBRARY: &str = "missing-library";
    /// A library lacks a version of its symbols.
    pub const OLD_LIBRARY: &str = "old-library";
    /// CMD, ENTRYPOINT or HEALTHCHECK in shell form, and no shell.
    pub const SHELL_MISSING: &str = "shell-missing";
    /// USER names an account that the image does not have.
    pub const USER_UNKNOWN: &str = "user-unknown";
    /// USER is a name.
    pub const USER_NOT_NUMERIC: &str = "user-not-numeric";
    /// Python packages for another minor version.
    pub const PYTHON_VERSION: &str = "python-version";
    /// Python packages that are not on `sys.path`.
    pub const PYTHON_PATH: &str = "python-path";
    /// Class files newer than the Java runtime.
    pub const JAVA_VERSION: &str = "java-version";
    /// A native addon for another ABI of Node.js.
    pub const NODE_ABI: &str = "node-abi";

    /// All of them.
    pub const ALL: [&str; 15] = [
        COMMAND_NOT_FOUND,
        COMMAND_NOT_EXECUTABLE,
        COMMAND_FORMAT,
        WRONG_ARCHITECTURE,
        MISSING_INTERPRETER,
        MISSING_LOADER,
        MISSING_LIBRARY,
        OLD_LIBRARY,
        SHELL_MISSING,
        USER_UNKNOWN,
        USER_NOT_NUMERIC,
        PYTHON_VERSION,
        PYTHON_PATH,
        JAVA_VERSION,
        NODE_ABI,
    ];
}

/// Looks for what keeps an image from running; the worst comes first. Images for another system than Linux are
/// not looked into.
///
/// # Errors
/// When a file of the image cannot be read.
pub fn preflight(subject: &Subject<'_>) -> Result<Vec<Finding>, AuditError> {
    if !["", "linux"].contains(&subject.config.os.as_str()) {
        return Ok(Vec::new());
    }
    let stage = Stage::new(subject.tree);
    let mut image = image::Image::new(subject, &stage)?;
    let command = image.check_command()?;
    image.check_user()?;
    image.check_copied()?;
    image.check_python(&command)?;
    image.check_java(&command)?;
    image.check_node(&command)?;
    let mut findings = image.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}
