//! Sources that are downloaded.

use distil_llb::{Constraints, DebSource, Edge, caps, pb};
use distil_oci::Platform;

use super::{Lowering, pb_platform};
use crate::git::GitAddress;
use crate::{ResolveMode, paths};

impl Lowering<'_> {
    pub(super) fn git_source(&mut self, git: &GitAddress, display: &str) -> Edge {
        let mut constraints = Constraints::named(display)
            .needs(caps::SOURCE_GIT)
            .needs(caps::SOURCE_GIT_FULL_URL);
        let mut source = pb::SourceOp {
            identifier: git_identifier(git),
            ..pb::SourceOp::default()
        };
        let mut attrs = vec![
            ("git.fullurl", git.remote.as_str(), None),
            ("git.authtokensecret", "GIT_AUTH_TOKEN", None),
            ("git.authheadersecret", "GIT_AUTH_HEADER", None),
        ];
        if git.keep_git_dir == Some(true) {
            attrs.push(("git.keepgitdir", "true", Some(caps::SOURCE_GIT_KEEP_DIR)));
        }
        if git.ssh {
            constraints = constraints.needs(caps::SOURCE_GIT_KNOWN_SSH_HOSTS);
            attrs.push((
                "git.mountsshsock",
                "default",
                Some(caps::SOURCE_GIT_MOUNT_SSH_SOCK),
            ));
        }
        if !git.checksum.is_empty() {
            attrs.push(("git.checksum", &git.checksum, Some(caps::SOURCE_GIT_CHECKSUM)));
        }
        if git.submodules == Some(false) {
            attrs.push((
                "git.skipsubmodules",
                "true",
                Some(caps::SOURCE_GIT_SKIP_SUBMODULES),
            ));
        }
        if git.fetch_by_commit {
            attrs.push((
                "git.fetchbycommit",
                "true",
                Some(caps::SOURCE_GIT_FETCH_BY_COMMIT),
            ));
        }
        for (key, value, cap) in attrs {
            source.attrs.insert(key.to_owned(), value.to_owned());
            if let Some(cap) = cap {
                constraints = constraints.needs(cap);
            }
        }
        self.graph.source(source, constraints)
    }

    /// Debian packages for a platform. The operation is of no scheme that BuildKit has, and needs a capability
    /// that it refuses by name.
    pub(super) fn deb_source(
        &mut self,
        source: &DebSource,
        platform: &Platform,
        constraints: Constraints,
    ) -> Edge {
        let mut constraints = constraints.needs(caps::SOURCE_DEB);
        constraints.platform = Some(pb_platform(platform));
        let mut op = pb::SourceOp {
            identifier: source.identifier(),
            ..pb::SourceOp::default()
        };
        if self.options.resolve_mode == ResolveMode::Pull {
            let mode = self.options.resolve_mode.name().to_owned();
            op.attrs.insert(distil_llb::DEB_RESOLVE_MODE.to_owned(), mode);
        }
        let edge = self.graph.source(op, constraints);
        self.package_sources.insert(edge);
        edge
    }

    /// A download that becomes the file `filename`.
    pub(super) fn http_source(
        &mut self,
        address: &str,
        filename: &str,
        checksum: Option<String>,
        mut constraints: Constraints,
    ) -> Edge {
        constraints = constraints.needs(caps::SOURCE_HTTP);
        let mut source = pb::SourceOp {
            identifier: address.to_owned(),
            ..pb::SourceOp::default()
        };
        source
            .attrs
            .insert("http.filename".to_owned(), filename.to_owned());
        if let Some(checksum) = checksum {
            source.attrs.insert("http.checksum".to_owned(), checksum);
            constraints = constraints.needs(caps::SOURCE_HTTP_CHECKSUM);
        }
        self.graph.source(source, constraints)
    }
}

/// The same for every protocol, so that clones over https and ssh are one source.
fn git_identifier(git: &GitAddress) -> String {
    let mut identifier = format!("git://{}", git.name);
    if !git.reference.is_empty() || !git.subdir.is_empty() {
        identifier = format!("{identifier}#{}", git.reference);
        if !git.subdir.is_empty() {
            identifier = format!("{identifier}:{}", git.subdir);
        }
    }
    identifier
}

/// Whether a source is downloaded over http, and not as a git repository.
pub(super) fn is_http(source: &str) -> bool {
    let has_scheme = source.starts_with("http://") || source.starts_with("https://");
    has_scheme && !matches!(crate::git::parse(source), Some(Ok(_)))
}

/// The name that a download gets: the last part of the address's path.
pub(super) fn download_name(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let path = crate::git::percent_decoded(path).unwrap_or_default();
    match paths::base(&path) {
        "." | "/" => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}
