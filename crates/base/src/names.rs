//! Names of images that built-in recipes cover.
//!
//! `gcr.io/distroless/FAMILY-debianN:TAG`, where `-debianN` may be missing (13 is
//! meant then) and the tag is `latest`, `nonroot`, `debug` or `debug-nonroot`,
//! each also with `-amd64` or `-arm64`; and our own `distil/FAMILY-debianN:TAG`,
//! which has the `slim` tags too.

use std::fmt;

use distil_oci::{Platform, Reference};

use crate::nearest;
use crate::recipe::{
    Builtin, ImageSpec, RecipeChain, RecipeError, Request, Variant, builtin_chain, builtin_chains,
};
use crate::release::{DebianRelease, debian_architecture};

/// Where the published images are.
const DISTROLESS: (&str, &str) = ("gcr.io", "distroless/");
/// Our own names; a domain is not part of them.
const OWN: (&str, &str) = ("docker.io", "distil/");

/// The release that a name without one means.
const DEFAULT_RELEASE: DebianRelease = DebianRelease::Trixie;

/// An image of the distroless kind that a built-in recipe covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DistrolessImage {
    /// Name of the recipe: `java17`.
    pub family: &'static str,
    /// Release.
    pub release: DebianRelease,
    /// Variant.
    pub variant: Variant,
    /// Debian's name of the architecture that the tag demands.
    pub architecture: Option<&'static str>,
    /// Whether the name is `distil/…` and not that of a published image.
    pub own: bool,
}

/// The parts of a name that could be of a recipe.
struct Parts<'a> {
    own: bool,
    family: &'a str,
    release: Option<&'a str>,
    tag: &'a str,
}

impl<'a> Parts<'a> {
    fn of(reference: &'a Reference) -> Option<Parts<'a>> {
        let is = |(domain, prefix): (&str, &str)| {
            (reference.domain() == domain)
                .then(|| reference.repository().strip_prefix(prefix))
                .flatten()
        };
        let (own, name) = match (is(DISTROLESS), is(OWN)) {
            (Some(name), _) => (false, name),
            (None, Some(name)) => (true, name),
            (None, None) => return None,
        };
        let (family, release) = match name.rsplit_once("-debian") {
            Some((family, number)) => (family, Some(number)),
            None => (name, None),
        };
        Some(Parts {
            own,
            family,
            release,
            tag: reference.tag().unwrap_or("latest"),
        })
    }

    fn release(&self) -> Option<DebianRelease> {
        match self.release {
            None => Some(DEFAULT_RELEASE),
            Some(number) => DebianRelease::ALL.into_iter().find(|one| one.number() == number),
        }
    }

    fn variant(&self) -> Option<(Variant, Option<&'static str>)> {
        let (tag, architecture) = split_architecture(self.tag);
        let variant = Variant::from_tag(tag)?;
        (self.own || !variant.slim).then_some((variant, architecture))
    }
}

/// `nonroot-arm64` is `nonroot` for arm64; `latest-amd64` exists too.
fn split_architecture(tag: &str) -> (&str, Option<&'static str>) {
    for name in ["amd64", "arm64"] {
        if let Some(rest) = tag.strip_suffix(name).and_then(|rest| rest.strip_suffix('-')) {
            return (rest, Some(name));
        }
    }
    (tag, None)
}

/// Families that are images by themselves, with the releases of each.
fn families() -> impl Iterator<Item = (&'static Builtin, &'static RecipeChain)> {
    builtin_chains().filter(|(one, _)| one.is_image)
}

impl DistrolessImage {
    /// The image that `reference` names, when a built-in recipe covers it. A
    /// digest names fixed contents that cannot be assembled: `None`.
    #[must_use]
    pub fn from_reference(reference: &Reference) -> Option<DistrolessImage> {
        if reference.digest().is_some() {
            return None;
        }
        let parts = Parts::of(reference)?;
        let release = parts.release()?;
        let (variant, architecture) = parts.variant()?;
        let (family, _) = builtin_chain(parts.family)
            .filter(|(one, chain)| one.is_image && chain.releases().contains(&release))?;
        Some(DistrolessImage {
            family: family.name,
            release,
            variant,
            architecture,
            own: parts.own,
        })
    }

    /// `gcr.io/distroless/java17-debian12:debug`, or `distil/base-debian12:slim`.
    #[must_use]
    pub fn name(&self) -> String {
        let prefix = if self.own { "distil/" } else { "gcr.io/distroless/" };
        let suffix = self
            .architecture
            .map_or_else(String::new, |name| format!("-{name}"));
        format!(
            "{prefix}{}-debian{}:{}{suffix}",
            self.family,
            self.release.number(),
            self.variant.tag()
        )
    }

    /// The recipe's spec for `platform`; an architecture in the tag wins over it.
    ///
    /// # Errors
    /// An architecture that the recipe is not for.
    pub fn spec(&self, platform: &Platform) -> Result<ImageSpec, RecipeError> {
        let normal = platform.normalized();
        let named = debian_architecture(platform).unwrap_or(&normal.architecture);
        RecipeChain::builtin(self.family)?.compose(&Request {
            release: Some(self.release),
            architecture: self.architecture.unwrap_or(named),
            variant: self.variant,
        })
    }

    /// The platform that it is made for when `platform` was asked for.
    #[must_use]
    pub fn platform(&self, platform: &Platform) -> Platform {
        match self.architecture {
            Some(name) => Platform::new("linux", name, "").normalized(),
            None => platform.normalized(),
        }
    }
}

/// The recipe nearest to a distroless name that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// The name to use instead: `gcr.io/distroless/java17-debian12`.
    pub recipe: String,
    /// In what it differs from what was asked for.
    pub difference: String,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the nearest recipe is `{}`: {}", self.recipe, self.difference)
    }
}

/// The recipe nearest to `reference`, when that is a distroless or `distil/…` name
/// without a recipe: for messages, never to be used in its place.
#[must_use]
pub fn nearest(reference: &Reference) -> Option<Nearest> {
    let parts = Parts::of(reference)?;
    if DistrolessImage::from_reference(reference).is_some() {
        return None;
    }
    let mut differences = Vec::new();
    let (family, release) = nearest_family(&parts, &mut differences)?;
    let variant = match parts.variant() {
        Some((variant, _)) => variant,
        None => {
            differences.push(format!(
                "tag `{}` is not among those that recipes make",
                parts.tag
            ));
            Variant::default()
        }
    };
    if let Some(digest) = reference.digest() {
        differences.push(format!(
            "digest `{digest}` names bytes that only the registry has"
        ));
    }
    let image = DistrolessImage {
        family,
        release,
        variant,
        architecture: None,
        own: parts.own,
    };
    Some(Nearest {
        recipe: image.name(),
        difference: differences.join("; "),
    })
}

/// A family that is as good as the one named, in a release that it is made for.
fn nearest_family(parts: &Parts<'_>, differences: &mut Vec<String>) -> Option<(&'static str, DebianRelease)> {
    let stem = parts.family.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = |name: &str| name[stem.len()..].parse::<i64>().ok();
    let wanted = parts.release();
    let alike = families().filter(|(one, _)| {
        one.name == parts.family || (one.name.starts_with(stem) && number(one.name).is_some())
    });
    let asked: i64 = number(parts.family).unwrap_or(i64::MAX);
    let best = alike.min_by_key(|(one, chain)| {
        let distance = number(one.name).map_or(0, |found| found.abs_diff(asked));
        // A release that the name does not give counts for less than the number.
        let other_release =
            parts.release.is_some() && wanted.is_none_or(|wanted| !chain.releases().contains(&wanted));
        (one.name != parts.family, other_release, distance)
    });
    let (family, chain) = match best {
        Some((family, chain)) => (family.name, chain),
        None => {
            let near = nearest::of(parts.family, families().map(|(one, _)| one.name))?;
            let (_, chain) = families().find(|(one, _)| one.name == near)?;
            (near, chain)
        }
    };
    if family != parts.family {
        differences.push(format!("it is {family} and not {}", parts.family));
    }
    let releases = chain.releases();
    let release = wanted
        .filter(|wanted| releases.contains(wanted))
        .or_else(|| releases.last().copied())?;
    if Some(release) != wanted || (parts.release.is_some() && wanted.is_none()) {
        let asked = parts.release.unwrap_or(DEFAULT_RELEASE.number());
        differences.push(format!("Debian {} and not {asked}", release.number()));
    }
    Some((family, release))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn covered_names() {
        for (text, expected) in [
            (
                "gcr.io/distroless/static",
                Some("gcr.io/distroless/static-debian13:latest"),
            ),
            (
                "gcr.io/distroless/static-debian12:nonroot",
                Some("gcr.io/distroless/static-debian12:nonroot"),
            ),
            (
                "gcr.io/distroless/base-nossl-debian12:debug-nonroot-arm64",
                Some("gcr.io/distroless/base-nossl-debian12:debug-nonroot-arm64"),
            ),
            (
                "gcr.io/distroless/cc:latest-amd64",
                Some("gcr.io/distroless/cc-debian13:latest-amd64"),
            ),
            (
                "gcr.io/distroless/java17-debian12:debug",
                Some("gcr.io/distroless/java17-debian12:debug"),
            ),
            (
                "gcr.io/distroless/java21-debian13",
                Some("gcr.io/distroless/java21-debian13:latest"),
            ),
            ("distil/base-debian12:slim", Some("distil/base-debian12:slim")),
            (
                "distil/python3-debian13:slim-nonroot",
                Some("distil/python3-debian13:slim-nonroot"),
            ),
            ("gcr.io/distroless/base-debian12:slim", None),
            ("gcr.io/distroless/java17-debian13", None),
            ("gcr.io/distroless/java11-debian11", None),
            ("gcr.io/distroless/static-debian11", None),
            ("gcr.io/distroless/nodejs", None),
            ("gcr.io/distroless/nodejs-upstream-debian12", None),
            ("gcr.io/distroless/static:sometag", None),
            ("gcr.io/other/static", None),
            ("docker.io/distroless/static", None),
            ("registry.example/distroless/static", None),
        ] {
            let found = DistrolessImage::from_reference(&reference(text)).map(|image| image.name());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        let digest = format!("gcr.io/distroless/static@sha256:{}", "0".repeat(64));
        assert_eq!(DistrolessImage::from_reference(&reference(&digest)), None);
    }

    #[test]
    fn nearest_recipes() {
        for (text, expected) in [
            (
                "gcr.io/distroless/base-debian11:nonroot",
                Some("gcr.io/distroless/base-debian13:nonroot"),
            ),
            (
                "gcr.io/distroless/java17-debian13",
                Some("gcr.io/distroless/java17-debian12:latest"),
            ),
            (
                "gcr.io/distroless/java11-debian12",
                Some("gcr.io/distroless/java17-debian12:latest"),
            ),
            (
                "gcr.io/distroless/nodejs",
                Some("gcr.io/distroless/nodejs20-debian13:latest"),
            ),
            (
                "gcr.io/distroless/nodejs22-debian12",
                Some("gcr.io/distroless/nodejs18-debian12:latest"),
            ),
            (
                "gcr.io/distroless/java:17",
                Some("gcr.io/distroless/java25-debian13:latest"),
            ),
            (
                "gcr.io/distroless/statik",
                Some("gcr.io/distroless/static-debian13:latest"),
            ),
            ("gcr.io/distroless/nothing-like-it", None),
            ("gcr.io/distroless/static", None),
            ("debian:12", None),
        ] {
            let found = nearest(&reference(text));
            assert_eq!(
                found.as_ref().map(|near| near.recipe.as_str()),
                expected,
                "{text}"
            );
            assert!(found.is_none_or(|near| !near.difference.is_empty()), "{text}");
        }
    }

    #[test]
    fn specs() {
        let image =
            DistrolessImage::from_reference(&reference("gcr.io/distroless/java17-debian12:debug-arm64"));
        let image = image.unwrap();
        let platform = Platform::new("linux", "amd64", "");
        assert_eq!(image.spec(&platform).unwrap().architecture, "arm64");
        assert_eq!(image.platform(&platform).architecture, "arm64");
        let image = DistrolessImage::from_reference(&reference("gcr.io/distroless/static")).unwrap();
        assert!(image.spec(&Platform::new("linux", "riscv64", "")).is_err());
    }
}
