//! What the arguments of `distil run` say, checked before an image is fetched.

use std::path::{Path, PathBuf};

use distil_sandbox::{MountSource, Network, ProcessMount, TmpfsOptions};

use super::ports::{self, Published};
use super::volumes::{self, Wanted};
use super::{RunArgs, network};
use crate::commands::build::extra_host;
use crate::error::CliError;
use crate::units;

/// What the arguments say.
pub(super) struct Options {
    pub(super) network: Network,
    /// Outer targets first.
    pub(super) mounts: Vec<Wanted>,
    pub(super) ports: Vec<Published>,
    /// Names and their addresses.
    pub(super) hosts: Vec<(String, String)>,
    /// Bytes of `/dev/shm`.
    pub(super) shm_size: Option<u64>,
    /// Variables of `--env-file` and then those of `-e`, as `NAME=VALUE` or `NAME`.
    pub(super) variables: Vec<String>,
}

impl Options {
    pub(super) fn parse(args: &RunArgs) -> Result<Self, CliError> {
        let network = network(args.network.as_deref())?;
        let ports = args.publish.iter().map(|text| ports::parse(text, network));
        let ports = ports.collect::<Result<_, _>>()?;
        if let Some(name) = &args.name {
            check_name(name)?;
        }
        let mut variables = Vec::new();
        for file in &args.env_files {
            variables.extend(env_file(file)?);
        }
        for pair in &args.env {
            if pair.is_empty() || pair.starts_with('=') {
                return Err(
                    CliError::usage(format!("`-e {pair}` has no name")).hint("write NAME=VALUE or NAME")
                );
            }
            variables.push(pair.clone());
        }
        if let Some(folder) = args.workdir.as_ref().filter(|folder| !folder.starts_with('/')) {
            return Err(
                CliError::usage(format!("`-w {folder}` is no absolute path")).hint("begin it with `/`")
            );
        }
        let memory = args.tmpfs.iter().map(|text| tmpfs(text).map(Wanted::Known));
        let mounts = memory.chain(args.volumes.iter().map(|text| volumes::parse(text)));
        let mut mounts: Vec<_> = mounts.collect::<Result<_, _>>()?;
        volumes::sort(&mut mounts)?;
        let hosts = args.add_hosts.iter().map(|text| extra_host(text));
        let hosts = hosts.map(|host| host.map(|(name, address)| (name, address.to_string())));
        Ok(Self {
            network,
            mounts,
            ports,
            hosts: hosts.collect::<Result<_, _>>()?,
            shm_size: args.shm_size.as_deref().map(shm_size).transpose()?,
            variables,
        })
    }
}

fn shm_size(text: &str) -> Result<u64, CliError> {
    memory_size(text).ok_or_else(|| {
        CliError::usage(format!("`--shm-size {text}` is no size")).hint("write it like 64m or 1g")
    })
}

/// A name as docker wants it.
fn check_name(name: &str) -> Result<(), CliError> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match begins && name.len() > 1 && name.chars().all(rest) {
        true => Ok(()),
        false => Err(CliError::usage(format!("`--name {name}` is no name"))
            .hint("a letter or digit comes first, then at least one letter, digit, `_`, `.` or `-`")),
    }
}

/// Lines `NAME=VALUE` or `NAME`; empty ones and those that begin with `#` say nothing.
fn env_file(path: &Path) -> Result<Vec<String>, CliError> {
    let wrong = |problem: String| CliError::failed(format!("--env-file `{}`: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut variables = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or(line);
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong(format!("line {number}: `{name}` is no name of a variable")));
        }
        variables.push(line.to_owned());
    }
    Ok(variables)
}

/// `TARGET[:OPTION,...]` with docker's options.
fn tmpfs(text: &str) -> Result<ProcessMount, CliError> {
    let wrong = |problem: &str| {
        CliError::usage(format!("`--tmpfs {text}`: {problem}"))
            .hint("write TARGET[:size=64m,mode=1777,uid=N,gid=N,noexec]")
    };
    let (target, given) = text.split_once(':').unwrap_or((text, ""));
    if !Path::new(target).is_absolute() {
        return Err(wrong("the target has to be an absolute path"));
    }
    let mut options = TmpfsOptions::default();
    for option in given.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let no_value = || wrong(&format!("`{option}` has no value that can be used"));
        match key {
            "size" => options.size = Some(memory_size(value).ok_or_else(no_value)?),
            "mode" => options.mode = Some(mode(value).ok_or_else(no_value)?),
            "uid" => options.uid = value.parse().map_err(|_| no_value())?,
            "gid" => options.gid = value.parse().map_err(|_| no_value())?,
            "noexec" => options.noexec = true,
            "exec" => options.noexec = false,
            // As it is anyway.
            "rw" | "nosuid" | "nodev" => {}
            _ => return Err(wrong(&format!("there is no option `{key}`"))),
        }
    }
    Ok(ProcessMount {
        target: PathBuf::from(target),
        source: MountSource::Tmpfs(options),
    })
}

/// Bytes as mount(8) counts them: `k`, `m` and `g` are powers of 1024.
fn memory_size(text: &str) -> Option<u64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return units::parse_bytes(text),
    };
    let number: u64 = text[..text.len() - unit.len()].parse().ok()?;
    number.checked_mul(1 << shift)
}

fn mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_dockers_options() {
        let read = |text: &str| match tmpfs(text).map(|mount| mount.source) {
            Ok(MountSource::Tmpfs(options)) => Some(options),
            _ => None,
        };
        assert_eq!(read("/run"), Some(TmpfsOptions::default()));
        let all = read("/x:rw,noexec,nosuid,size=64m,mode=0750,uid=3,gid=4").unwrap();
        assert_eq!(
            (all.size, all.mode, all.uid, all.gid),
            (Some(64 << 20), Some(0o750), 3, 4)
        );
        assert!(all.noexec);
        for wrong in [
            "run",
            "",
            "/x:size=",
            "/x:mode=8",
            "/x:mode=777777",
            "/x:colour=red",
            "/x:uid=-1",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_are_dockers() {
        for (name, fits) in [
            ("db", true),
            ("a.b_c-1", true),
            ("a", false),
            ("", false),
            ("-a", false),
            ("a b", false),
        ] {
            assert_eq!(check_name(name).is_ok(), fits, "{name}");
        }
    }
}
