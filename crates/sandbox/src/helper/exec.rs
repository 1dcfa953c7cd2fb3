//! Finding and executing the program, and saying why that failed.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::binfmt::{self, Elf};
use crate::error::StartError;

/// Replaces the process by the program; returns only with the reason why not.
pub(super) fn execute(arguments: &[CString], environment: &[CString], search_path: &OsStr) -> StartError {
    let Some(name) = arguments.first() else {
        return StartError::NoCommand;
    };
    let program = match find(OsStr::from_bytes(name.to_bytes()), search_path) {
        Ok(program) => program,
        Err(error) => return error,
    };
    let Ok(path) = CString::new(program.as_os_str().as_bytes()) else {
        return StartError::NoCommand;
    };
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: the path and both null-terminated lists point to NUL-terminated strings that live
    // through the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    let error = io::Error::last_os_error();
    explain(&name.to_string_lossy(), &program, &error)
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let strings = strings.iter().map(|string| string.as_ptr());
    strings.chain(std::iter::once(std::ptr::null())).collect()
}

/// The file to execute: `name` itself when it has a slash, else the first executable file of that
/// name on the search path.
fn find(name: &OsStr, search_path: &OsStr) -> Result<PathBuf, StartError> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let program = name.to_string_lossy().into_owned();
    let mut refused = None;
    if !name.is_empty() {
        for directory in search_path.as_bytes().split(|&byte| byte == b':') {
            let directory = if directory.is_empty() { b"." } else { directory };
            let candidate = Path::new(OsStr::from_bytes(directory)).join(name);
            match fs::metadata(&candidate) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) if is_executable(&candidate) => return Ok(candidate),
                Ok(_) => refused = refused.or(Some(candidate)),
                Err(_) => {}
            }
        }
    }
    Err(match refused {
        Some(path) => StartError::PermissionDenied {
            program,
            detail: format!("permission denied: `{}` is not executable", path.display()),
        },
        None => StartError::NotFound {
            program,
            detail: format!(
                "executable file not found in PATH (`{}`)",
                search_path.to_string_lossy()
            ),
        },
    })
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::accessat(
        rustix::fs::CWD,
        path,
        rustix::fs::Access::EXEC_OK,
        rustix::fs::AtFlags::EACCESS,
    )
    .is_ok()
}

fn explain(program: &str, path: &Path, error: &io::Error) -> StartError {
    let program = program.to_owned();
    match error.raw_os_error() {
        Some(libc::ENOENT) if fs::symlink_metadata(path).is_ok() => missing_link(program, path),
        Some(libc::ENOENT | libc::ENOTDIR) => StartError::NotFound {
            program,
            detail: "no such file or directory".to_owned(),
        },
        Some(libc::EACCES | libc::EPERM) => StartError::PermissionDenied {
            program,
            detail: denial(path),
        },
        Some(libc::ENOEXEC) => StartError::Format {
            detail: format_of(path),
            program,
        },
        _ => StartError::Refused {
            program,
            detail: error.to_string(),
        },
    }
}

/// A file that is there and yet "not found": a dangling symlink, or one whose interpreter is.
fn missing_link(program: String, path: &Path) -> StartError {
    if fs::metadata(path).is_err() {
        let target = fs::read_link(path).unwrap_or_default();
        return StartError::NotFound {
            program,
            detail: format!("it is a link to `{}`, which does not exist", target.display()),
        };
    }
    match interpreter(path) {
        Some(interpreter) => StartError::MissingInterpreter { program, interpreter },
        None => StartError::NotFound {
            program,
            detail: "no such file or directory".to_owned(),
        },
    }
}

fn interpreter(path: &Path) -> Option<String> {
    let content = binfmt::head(path).ok()?;
    if let Some(line) = content.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next()?.trim_ascii();
        let word = line.split(|byte| byte.is_ascii_whitespace()).next()?;
        return Some(String::from_utf8_lossy(word).into_owned());
    }
    Elf::read(path).ok()??.interpreter
}

fn denial(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => "it is a directory".to_owned(),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => format!(
            "permission denied: mode {:04o} has no execute bit",
            metadata.mode() & 0o7777
        ),
        _ => "permission denied".to_owned(),
    }
}

fn format_of(path: &Path) -> String {
    match Elf::read(path) {
        Ok(Some(elf)) if elf.machine != binfmt::NATIVE_MACHINE => format!(
            "it is a program for {}, this machine is {}, and no emulator is registered",
            binfmt::machine_name(elf.machine),
            binfmt::machine_name(binfmt::NATIVE_MACHINE)
        ),
        Ok(Some(_)) => "a damaged program".to_owned(),
        _ => "neither a program nor a script with a `#!` line".to_owned(),
    }
}
