//! OpenVEX: what someone says about vulnerabilities in a product. Source: the OpenVEX specification, 0.2.0; the
//! forms of 0.0.x, which name vulnerabilities and products as plain texts, are read too.

use std::path::Path;

use serde::Deserialize;

use super::component::Ecosystem;
use super::{CveError, Vulnerability};

/// The statements of a document, the oldest first: a later one of the same matter wins.
#[derive(Debug, Clone, Default)]
pub struct Vex {
    statements: Vec<Statement>,
}

/// What images a statement may name, and how.
#[derive(Debug, Clone, Default)]
pub struct ImageNames {
    /// Names without and with the tag, such as `app` and `app:1.0`.
    pub names: Vec<String>,
    /// Digests in the form `sha256:…`: image ID, manifest.
    pub digests: Vec<String>,
}

/// What a statement says of a vulnerability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VexVerdict {
    /// Whether it does not count: `not_affected` or `fixed`.
    pub clears: bool,
    /// The status and its justification.
    pub reason: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Document {
    #[serde(rename = "@context")]
    context: String,
    timestamp: Option<String>,
    statements: Vec<Statement>,
}

#[derive(Debug, Clone, Deserialize)]
struct Statement {
    vulnerability: Name,
    #[serde(default)]
    products: Vec<Product>,
    status: Status,
    #[serde(default)]
    justification: Option<String>,
    #[serde(default)]
    impact_statement: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    NotAffected,
    Affected,
    Fixed,
    UnderInvestigation,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Object {
        #[serde(default)]
        name: Option<String>,
        #[serde(rename = "@id", default)]
        id: Option<String>,
        #[serde(default)]
        aliases: Vec<String>,
    },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Product {
    Text(String),
    Object {
        #[serde(rename = "@id", default)]
        id: Option<String>,
        #[serde(default)]
        identifiers: Identifiers,
        #[serde(default)]
        subcomponents: Vec<Product>,
    },
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Identifiers {
    #[serde(default)]
    purl: Option<String>,
}

/// Reads a document; `path` names it in errors.
///
/// # Errors
/// [`CveError::Vex`] when it is no OpenVEX.
pub fn read_vex(text: &[u8], path: &Path) -> Result<Vex, CveError> {
    let wrong = |reason: String| CveError::Vex {
        path: path.to_owned(),
        reason,
    };
    let document: Document = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
    if !document.context.contains("openvex") {
        return Err(wrong(format!("its @context is `{}`", document.context)));
    }
    let mut statements = document.statements;
    for statement in &mut statements {
        statement.timestamp = statement.timestamp.take().or_else(|| document.timestamp.clone());
    }
    Ok(Vex { statements })
}

impl Vex {
    /// Adds the statements of another document.
    pub fn extend(&mut self, other: Vex) {
        self.statements.extend(other.statements);
        // RFC 3339 in one zone sorts as text; without a time a statement is the oldest.
        self.statements.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
    }

    /// The newest statement about a vulnerability of this image.
    #[must_use]
    pub fn verdict(&self, vulnerability: &Vulnerability, image: &ImageNames) -> Option<VexVerdict> {
        let mut statements = self.statements.iter().rev();
        let statement = statements.find(|statement| {
            statement.vulnerability.is(vulnerability)
                && statement
                    .products
                    .iter()
                    .any(|product| product.covers(vulnerability, image))
        })?;
        let status = match statement.status {
            Status::NotAffected => "not affected",
            Status::Affected => "affected",
            Status::Fixed => "fixed",
            Status::UnderInvestigation => "under investigation",
        };
        let why = statement
            .justification
            .as_ref()
            .or(statement.impact_statement.as_ref());
        Some(VexVerdict {
            clears: matches!(statement.status, Status::NotAffected | Status::Fixed),
            reason: why.map_or_else(|| status.to_owned(), |why| format!("{status}: {why}")),
        })
    }
}

impl Name {
    fn is(&self, vulnerability: &Vulnerability) -> bool {
        match self {
            Self::Text(name) => vulnerability.is_named(name),
            Self::Object { name, id, aliases } => {
                // An @id is an address that ends with the name.
                let id = id.as_deref().and_then(|id| id.rsplit('/').next());
                let mut names = name
                    .as_deref()
                    .into_iter()
                    .chain(id)
                    .chain(aliases.iter().map(String::as_str));
                names.any(|name| vulnerability.is_named(name))
            }
        }
    }
}

impl Product {
    /// A product is the image, as a whole or with the parts that are named, or a package itself.
    fn covers(&self, vulnerability: &Vulnerability, image: &ImageNames) -> bool {
        match self {
            Self::Text(name) => image.is(name) || is_package(name, vulnerability),
            Self::Object {
                id,
                identifiers,
                subcomponents,
            } => {
                let mut names = id.iter().chain(&identifiers.purl);
                if names.clone().any(|name| is_package(name, vulnerability)) {
                    return true;
                }
                let parts =
                    subcomponents.is_empty() || subcomponents.iter().any(|part| part.is_part(vulnerability));
                parts && names.any(|name| image.is(name))
            }
        }
    }

    fn is_part(&self, vulnerability: &Vulnerability) -> bool {
        match self {
            Self::Text(name) => is_package(name, vulnerability),
            Self::Object { id, identifiers, .. } => {
                let mut names = id.iter().chain(&identifiers.purl);
                names.any(|name| is_package(name, vulnerability))
            }
        }
    }
}

impl ImageNames {
    /// A name as it is, or a purl of the types `oci` and `docker`; a digest in it must be that of the image.
    fn is(&self, name: &str) -> bool {
        if self.names.iter().chain(&self.digests).any(|own| own == name) {
            return true;
        }
        let Some(purl) = Purl::parse(name).filter(|purl| matches!(&*purl.kind, "oci" | "docker")) else {
            return false;
        };
        if let Some(version) = &purl.version
            && version.starts_with("sha256:")
        {
            return self.digests.contains(version);
        }
        let tag = purl.version.or(purl.tag);
        let wanted = |name: &str| {
            tag.as_ref()
                .map_or_else(|| name.to_owned(), |tag| format!("{name}:{tag}"))
        };
        let wanted = [
            wanted(&purl.name),
            wanted(&format!("{}/{}", purl.namespace, purl.name)),
        ];
        self.names.iter().any(|own| wanted.contains(own))
    }
}

/// Whether a purl names a package of a vulnerability, or its source.
fn is_package(purl: &str, vulnerability: &Vulnerability) -> bool {
    let Some(purl) = Purl::parse(purl) else {
        return false;
    };
    let ecosystem = vulnerability.ecosystem;
    let (kind, separator) = match ecosystem {
        Ecosystem::Debian => ("deb", ""),
        Ecosystem::Go => ("golang", "/"),
        Ecosystem::Maven => ("maven", ":"),
        Ecosystem::Npm => ("npm", "/"),
        Ecosystem::PyPI => ("pypi", ""),
    };
    let full = match separator {
        separator if separator.is_empty() || purl.namespace.is_empty() => purl.name.clone(),
        separator => format!("{}{separator}{}", purl.namespace, purl.name),
    };
    let is = |name: &str, version: &str| {
        ecosystem.normal_name(name) == ecosystem.normal_name(&full)
            && purl.version.as_deref().is_none_or(|wanted| wanted == version)
    };
    purl.kind == kind
        && (is(&vulnerability.component, &vulnerability.version)
            || vulnerability
                .packages
                .iter()
                .any(|package| is(&package.name, &package.version)))
}

/// The parts of a package URL that decide here.
struct Purl {
    kind: String,
    namespace: String,
    name: String,
    version: Option<String>,
    tag: Option<String>,
}

impl Purl {
    /// `pkg:type/namespace/name@version?qualifiers#subpath`.
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("pkg:")?.trim_start_matches('/');
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (rest, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
        let (kind, rest) = rest.split_once('/')?;
        // The name of an npm scope begins with `@`, so the version is behind the last one, and not in front.
        let (path, version) = match rest.rsplit_once('@') {
            Some((path, version)) if !path.is_empty() && !path.ends_with('/') => {
                (path, Some(decoded(version)))
            }
            _ => (rest, None),
        };
        let (namespace, name) = path.rsplit_once('/').unwrap_or(("", path));
        let tag = qualifiers.split('&').find_map(|pair| pair.strip_prefix("tag="));
        (!name.is_empty()).then(|| Self {
            kind: kind.to_ascii_lowercase(),
            namespace: decoded(namespace),
            name: decoded(name),
            version,
            tag: tag.map(decoded),
        })
    }
}

/// Percent-decoding; what is no such code stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *byte == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
