//! Named contexts: what `--build-context` gives in place of a stage or an image.

use distil_llb::{Constraints, DebSource, Edge, State, caps, pb};
use distil_oci::{Digest, Platform, Reference};

use super::stages::StageId;
use super::{Lowering, PendingLocal, SCRATCH, local_source, pb_platform};
use crate::ImageName;
use crate::git::{self, GitAddress};

/// A context that the options give; its value is not looked at before it is used.
#[derive(Clone, Debug)]
pub(super) struct NamedContext {
    /// The name in its short form.
    pub(super) name: String,
    /// The option's key: the name, or `name::platform`.
    pub(super) key: String,
    /// The option's value.
    pub(super) value: String,
    pub(super) platform: Option<Platform>,
}

/// Where a context's files are.
pub(super) enum Place {
    Empty,
    Image(ImageName),
    Local(String),
    Git(GitAddress),
    Http(String),
    Packages(DebSource),
}

impl NamedContext {
    /// Reads the value.
    pub(super) fn place(&self) -> Result<Place, String> {
        let invalid = |reason: &str| format!("the build context `{}={}` {reason}", self.key, self.value);
        let (kind, rest) = self
            .value
            .split_once(':')
            .ok_or_else(|| invalid("names no kind of source"))?;
        if kind.starts_with("git@") || matches!(kind, "git" | "ssh") {
            return match git::parse(&self.value) {
                Some(Ok(address)) => Ok(Place::Git(address)),
                Some(Err(reason)) => Err(invalid(&format!("is no git address: {reason}"))),
                None => Err(invalid("is no git address")),
            };
        }
        match kind {
            "docker-image" => {
                let name = rest.strip_prefix("//").unwrap_or(rest);
                if name == SCRATCH {
                    return Ok(Place::Empty);
                }
                let reference: Reference = name
                    .parse()
                    .map_err(|error: distil_oci::ReferenceError| invalid(&format!("is refused: {error}")))?;
                Ok(Place::Image(ImageName::Named(reference.or_latest())))
            }
            "oci-layout" => {
                let (store, digest) = rest
                    .strip_prefix("//")
                    .unwrap_or(rest)
                    .rsplit_once('@')
                    .filter(|(store, _)| !store.is_empty())
                    .ok_or_else(|| invalid("is not `oci-layout://LAYOUT@sha256:...`"))?;
                let digest: Digest = digest
                    .parse()
                    .map_err(|error: distil_oci::DigestError| invalid(&format!("is refused: {error}")))?;
                Ok(Place::Image(ImageName::Layout {
                    store: store.to_owned(),
                    digest,
                }))
            }
            "local" => Ok(Place::Local(rest.to_owned())),
            "http" | "https" => match git::parse(&self.value) {
                Some(Ok(address)) => Ok(Place::Git(address)),
                Some(Err(reason)) => Err(invalid(&format!("is no git address: {reason}"))),
                None => Ok(Place::Http(self.value.clone())),
            },
            "deb" => self
                .value
                .parse()
                .map(Place::Packages)
                .map_err(|error: distil_llb::DebSourceError| invalid(&format!("is refused: {error}"))),
            _ => Err(invalid(&format!("is of the unknown kind `{kind}`"))),
        }
    }

    /// The image that it stands for, where it does.
    pub(super) fn image_name(&self) -> Result<Option<ImageName>, String> {
        Ok(match self.place()? {
            Place::Image(name) => Some(name),
            Place::Empty | Place::Local(_) | Place::Git(_) | Place::Http(_) | Place::Packages(_) => None,
        })
    }

    /// The image's name as the option spells it.
    pub(super) fn typed_image(&self) -> &str {
        let rest = self.value.split_once(':').map_or("", |(_, rest)| rest);
        rest.strip_prefix("//").unwrap_or(rest)
    }
}

impl Lowering<'_> {
    /// The context of this name, if one is given: for the platform, else for all.
    /// `scratch` and `context` are never replaced.
    pub(super) fn named_context(
        &self,
        name: &str,
        platform: Option<Platform>,
    ) -> Result<Option<NamedContext>, String> {
        if name.eq_ignore_ascii_case(SCRATCH) || name.eq_ignore_ascii_case(super::MAIN_CONTEXT) {
            return Ok(None);
        }
        let reference: Reference = name
            .parse()
            .map_err(|error| format!("`{name}` cannot name a stage or context: {error}"))?;
        let short = reference.familiar();
        let short = short.strip_suffix(":latest").unwrap_or(&short).to_owned();
        let platform = platform.or_else(|| self.options.target_platform.clone());
        let wanted = platform
            .clone()
            .unwrap_or_else(|| self.options.build_platform.clone());
        let keys = [format!("{short}::{}", wanted.normalized()), short.clone()];
        Ok(keys.into_iter().find_map(|key| {
            let value = self.options.contexts.get(&key)?.clone();
            Some(NamedContext {
                name: short.clone(),
                key,
                value,
                platform: platform.clone(),
            })
        }))
    }

    pub(super) fn local_context(
        &mut self,
        stage: StageId,
        context: &NamedContext,
        local_name: &str,
    ) -> State {
        let ignored = self.options.ignore.get(local_name).map_or(&[][..], Vec::as_slice);
        let hint = format!("context:{}-", context.key);
        let display = format!("[context {}] load from client", context.key);
        let edge = local_source(
            &mut self.graph,
            self.options,
            local_name,
            &hint,
            ignored,
            &display,
        );
        self.pending_locals.push(PendingLocal { edge, stage });
        State::new(Some(edge))
    }

    pub(super) fn layout_source(&mut self, context: &NamedContext, store: &str, digest: Digest) -> Edge {
        let named: Result<Reference, _> = context.name.parse();
        let name = match named {
            Ok(reference) => reference.with_digest(digest).to_string(),
            Err(_) => format!("{}@{digest}", context.name),
        };
        let display = format!("[context {}] OCI load from client", context.key);
        let mut constraints = Constraints::named(display).needs(caps::SOURCE_OCI_LAYOUT);
        constraints.platform = context.platform.as_ref().map(pb_platform);
        let mut source = pb::SourceOp {
            identifier: format!("oci-layout://{name}"),
            ..pb::SourceOp::default()
        };
        if !self.options.session.is_empty() {
            source
                .attrs
                .insert("oci.session".to_owned(), self.options.session.clone());
        }
        source.attrs.insert("oci.store".to_owned(), store.to_owned());
        self.graph.source(source, constraints)
    }
}
