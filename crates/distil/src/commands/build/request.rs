//! From arguments to a build request.

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use distil_engine::{BuildRequest, DockerfileText, Ephemeral, MAIN_CONTEXT};
use distil_frontend::{NoCache, Options, ResolveMode};
use distil_llb::pb::NetMode;
use distil_oci::{Layout, Platform};
use distil_solver::Mode;

use super::InputArgs;
use crate::error::{CliError, chain};
use crate::session::Session;

/// Proxy variables that RUN gets from the environment without being asked, in lower case.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Standard input that was read: it has to be there again when distil starts itself once more.
#[derive(Default)]
pub(crate) struct ReadInput(Option<std::fs::File>);

impl ReadInput {
    /// Makes what was read the standard input again.
    pub(crate) fn rewind(&mut self) -> Result<(), CliError> {
        if let Some(mut file) = self.0.take() {
            file.rewind()?;
            rustix::stdio::dup2_stdin(&file).map_err(std::io::Error::from)?;
        }
        Ok(())
    }
}

/// A build request and what reading it used up.
pub(crate) struct Request {
    pub(crate) build: BuildRequest,
    pub(crate) stdin: ReadInput,
}

/// Reads everything the arguments name: Dockerfile, contexts, layouts.
pub(crate) fn request(session: &Session, args: &InputArgs) -> Result<Request, CliError> {
    let mut contexts = BTreeMap::new();
    let mut layouts = BTreeMap::new();
    let mut named = BTreeMap::new();
    for text in &args.build_contexts {
        named_context(text, &mut contexts, &mut layouts, &mut named)?;
    }
    let options = Options {
        build_args: build_args(session, args)?,
        labels: pairs(&args.labels, "--label")?,
        target: args.target.clone().filter(|target| !target.is_empty()),
        target_platform: platform(&args.platform)?,
        no_cache: no_cache(args),
        resolve_mode: if args.pull {
            ResolveMode::Pull
        } else {
            ResolveMode::Default
        },
        network: network(args.network.as_deref())?,
        extra_hosts: args
            .add_hosts
            .iter()
            .map(|host| extra_host(host))
            .collect::<Result<_, _>>()?,
        contexts: named,
        session: "distil".into(),
        ..Options::default()
    };
    // Wrong arguments are told before files are read.
    let mut stdin = ReadInput::default();
    let (context, dockerfile) = main_context(args, &mut stdin)?;
    contexts.insert(MAIN_CONTEXT.to_owned(), context);
    let build = BuildRequest {
        dockerfile,
        contexts,
        layouts,
        options,
        ephemeral: Ephemeral::default(),
        mode: Mode::Full,
        failure_shell: None,
    };
    Ok(Request { build, stdin })
}

fn main_context(args: &InputArgs, stdin: &mut ReadInput) -> Result<(PathBuf, DockerfileText), CliError> {
    let context = args.context.as_path();
    let text = context.to_string_lossy();
    if text.contains("://") || text.starts_with("git@") {
        return Err(CliError::usage(format!(
            "`{text}`: contexts that are fetched are not supported yet"
        ))
        .hint("fetch it yourself and name the folder"));
    }
    let from_stdin = |stdin: &mut ReadInput| -> Result<DockerfileText, CliError> {
        Ok(DockerfileText {
            name: "Dockerfile".into(),
            path: None,
            text: read_stdin(stdin)?,
        })
    };
    if text == "-" {
        if args.file.is_some() {
            return Err(CliError::usage(
                "the context `-` is a Dockerfile on standard input: -f cannot name another",
            ));
        }
        let dockerfile = from_stdin(stdin)?;
        if dockerfile.text.starts_with(&[0x1f, 0x8b]) || dockerfile.text.get(257..262) == Some(b"ustar") {
            return Err(
                CliError::usage("a context as an archive on standard input is not supported yet")
                    .hint("unpack it and name the folder"),
            );
        }
        return Ok((empty_context()?, dockerfile));
    }
    let dockerfile = match args.file.as_deref() {
        Some(file) if file == Path::new("-") => from_stdin(stdin)?,
        file => {
            if !context.exists() {
                return Err(CliError::failed(format!("build context `{text}` does not exist")));
            }
            DockerfileText::read(context, file).map_err(|error| missing_dockerfile(&error, args))?
        }
    };
    Ok((context.to_owned(), dockerfile))
}

fn missing_dockerfile(error: &distil_engine::BuildError, args: &InputArgs) -> CliError {
    let failed = CliError::failed(chain(error));
    if args.file.is_none() {
        failed.hint("-f names a Dockerfile that is elsewhere or has another name")
    } else {
        failed
    }
}

/// A folder without files for a build that has no context. `/proc/self/fdinfo` would change; an empty
/// directory of the system that nobody may write does not.
fn empty_context() -> Result<PathBuf, CliError> {
    let folder = std::env::temp_dir().join(format!("distil-empty-{}", rustix::process::getuid().as_raw()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn read_stdin(stdin: &mut ReadInput) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    let fd =
        rustix::fs::memfd_create("stdin", rustix::fs::MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&text)?;
    stdin.0 = Some(file);
    Ok(text)
}

fn named_context(
    text: &str,
    contexts: &mut BTreeMap<String, PathBuf>,
    layouts: &mut BTreeMap<String, PathBuf>,
    named: &mut BTreeMap<String, String>,
) -> Result<(), CliError> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err(CliError::usage(format!(
            "`--build-context {text}` is not NAME=VALUE"
        )));
    };
    let value = if value.starts_with("docker-image://") || value.starts_with("deb:") {
        value.to_owned()
    } else if let Some(rest) = value.strip_prefix("oci-layout://") {
        let (folder, digest) = layout_entry(rest)?;
        layouts.insert(name.to_owned(), folder);
        format!("oci-layout://{name}@{digest}")
    } else if value.contains("://") || value.starts_with("git@") {
        // Refused by the build when a stage asks for it; a context that nothing uses may be anything.
        value.to_owned()
    } else {
        let folder = PathBuf::from(value);
        if !folder.is_dir() {
            return Err(CliError::failed(format!(
                "`--build-context {text}`: `{value}` is not a folder"
            )));
        }
        contexts.insert(name.to_owned(), folder);
        format!("local:{name}")
    };
    named.insert(name.to_owned(), value);
    Ok(())
}

/// Folder and digest of `FOLDER`, `FOLDER:TAG` or `FOLDER@DIGEST`.
fn layout_entry(text: &str) -> Result<(PathBuf, distil_oci::Digest), CliError> {
    let failed = |message: String| CliError::failed(format!("`oci-layout://{text}`: {message}"));
    if let Some((folder, digest)) = text.rsplit_once('@')
        && let Ok(digest) = digest.parse()
    {
        return Ok((PathBuf::from(folder), digest));
    }
    let (folder, tag) = match text.rsplit_once(':') {
        Some((folder, tag)) if !Path::new(text).is_dir() => (folder, Some(tag)),
        _ => (text, None),
    };
    let layout = Layout::open(Path::new(folder)).map_err(|error| failed(chain(&error)))?;
    let entry = match (tag, layout.index().manifests.as_slice()) {
        (Some(tag), _) => layout
            .find_tag(tag)
            .ok_or_else(|| failed(format!("it has no tag `{tag}`")))?,
        (None, [only]) => only,
        (None, entries) => match layout.find_tag("latest") {
            Some(entry) => entry,
            None => {
                return Err(failed(format!(
                    "it has {} images: name one with :TAG or @DIGEST",
                    entries.len()
                )));
            }
        },
    };
    Ok((PathBuf::from(folder), entry.digest))
}

/// `--build-arg`, and what the environment gives: proxies and `SOURCE_DATE_EPOCH`.
fn build_args(session: &Session, args: &InputArgs) -> Result<BTreeMap<String, String>, CliError> {
    let environment = &session.environment;
    let mut all = BTreeMap::new();
    for text in &args.build_args {
        match text.split_once('=') {
            Some(("", _)) | None if text.is_empty() || text.starts_with('=') => {
                return Err(CliError::usage(format!(
                    "`--build-arg {text}` is not NAME[=VALUE]"
                )));
            }
            Some((name, value)) => drop(all.insert(name.to_owned(), value.to_owned())),
            None => {
                if let Some(value) = environment.all().get(text) {
                    all.insert(text.clone(), value.clone());
                }
            }
        }
    }
    for lower in PROXIES {
        let upper = lower.to_uppercase();
        let given = all.contains_key(lower) || all.contains_key(&upper);
        if let Some(value) = environment
            .get(lower)
            .or_else(|| environment.get(&upper))
            .filter(|_| !given)
        {
            all.insert(upper, value.to_owned());
        }
    }
    if let Some(epoch) = environment.get("SOURCE_DATE_EPOCH") {
        all.entry("SOURCE_DATE_EPOCH".into())
            .or_insert_with(|| epoch.to_owned());
    }
    Ok(all)
}

fn pairs(texts: &[String], flag: &str) -> Result<BTreeMap<String, String>, CliError> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some(("", _)) => Err(CliError::usage(format!("`{flag} {text}` is not NAME=VALUE"))),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None if text.is_empty() => Err(CliError::usage(format!("`{flag}` needs NAME=VALUE"))),
            None => Ok((text.clone(), String::new())),
        })
        .collect()
}

/// The one platform of a build.
pub(crate) fn platform(texts: &[String]) -> Result<Option<Platform>, CliError> {
    match texts {
        [] => Ok(None),
        [one] if one == "local" => Ok(Some(Platform::host())),
        [one] => one
            .parse()
            .map(Some)
            .map_err(|error| CliError::usage(format!("`--platform {one}`: {error}"))),
        _ => Err(
            CliError::usage("building for several platforms at once is not supported yet")
                .hint("build each with its own --platform"),
        ),
    }
}

fn no_cache(args: &InputArgs) -> NoCache {
    if args.no_cache {
        NoCache::Everywhere
    } else if args.no_cache_filter.is_empty() {
        NoCache::Never
    } else {
        NoCache::Stages(args.no_cache_filter.clone())
    }
}

fn network(mode: Option<&str>) -> Result<NetMode, CliError> {
    match mode {
        None | Some("" | "default" | "bridge") => Ok(NetMode::Unset),
        Some("host") => Ok(NetMode::Host),
        Some("none") => Ok(NetMode::None),
        Some(other) => Err(CliError::usage(format!("`--network {other}` is no network mode"))
            .hint("there are default, host and none")),
    }
}

/// `NAME=ADDRESS` or docker's older `NAME:ADDRESS` of `--add-host`.
pub(crate) fn extra_host(text: &str) -> Result<(String, IpAddr), CliError> {
    let wrong =
        || CliError::usage(format!("`--add-host {text}` is not NAME=ADDRESS")).hint("such as db=10.0.0.5");
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(wrong)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address = if address == "host-gateway" {
        "127.0.0.1"
    } else {
        address
    };
    match address.parse() {
        Ok(address) if !name.is_empty() => Ok((name.to_owned(), address)),
        _ => Err(wrong()),
    }
}
