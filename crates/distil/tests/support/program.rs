//! The program under test.

use std::path::Path;
use std::process::Command;

/// Copies the program to where a user who may not see the build folder can start it. Another process writes the copy:
/// a test that starts something meanwhile would hand the open file on, and a file that is being written cannot be run.
pub(crate) fn copy_distil(to: &Path) {
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_distil"))
        .arg(to)
        .status();
    assert!(copied.unwrap().success());
}
