//! `RUN --mount=`: fields as typed, and what they mean once their values are expanded.

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Word};
use crate::suggest;

/// One `--mount=` flag, its values unexpanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The comma-separated fields in order.
    pub fields: Vec<MountField>,
    /// The value of the last `from=`, known before expansion because variables are refused there.
    pub from: Option<Word>,
    /// The flag's value.
    pub span: Span,
}

/// `key` or `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountField {
    /// The field as typed, without CSV quotes.
    pub text: String,
    /// The part before the first `=`, in lower case.
    pub key: String,
    /// The part behind the first `=`.
    pub value: Option<String>,
    /// Where the field stands.
    pub span: Span,
}

/// What a mount is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// An empty file system in memory.
    Tmpfs,
    /// A file or variable with a secret.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

impl MountKind {
    /// The name as written after `type=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// How a cache mount is shared between steps that run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Used by several at once.
    Shared,
    /// A new one for each that comes while it is in use.
    Private,
    /// Others wait.
    Locked,
}

/// A mount with expanded values. An empty string means "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// `type=`
    pub kind: MountKind,
    /// `from=`: a stage, a named context or an image.
    pub from: String,
    /// `source=` or `src=`
    pub source: String,
    /// `target=`, `dst=` or `destination=`
    pub target: String,
    /// After defaults: bind, secret and ssh are read-only unless `rw` is given.
    pub readonly: bool,
    /// `size=` in bytes, for tmpfs; 0 when not given.
    pub size: i64,
    /// `id=`
    pub id: String,
    /// `sharing=`, for caches.
    pub sharing: Option<Sharing>,
    /// `required=`, for secrets and ssh.
    pub required: bool,
    /// `env=`, which may be given empty.
    pub env: Option<String>,
    /// `mode=`, given in octal.
    pub mode: Option<u32>,
    /// `uid=`
    pub uid: Option<u32>,
    /// `gid=`
    pub gid: Option<u32>,
}

/// The field whose value is needed before expansion.
pub(crate) const FROM: &str = "from";

const KEYS: [&str; 19] = [
    "type",
    FROM,
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

impl MountFlag {
    /// Expands every value with `expand` and judges the fields, in order: `required` before `type=secret` is
    /// refused. The caller gives each error of `expand` its place (the flag's span is at hand).
    ///
    /// # Errors
    /// The first field that is unknown, lacks a value or does not fit the mount's type, or that `expand` refuses.
    pub fn resolve(
        &self,
        expand: &mut dyn FnMut(&str) -> Result<String, Diagnostic>,
    ) -> Result<Mount, Diagnostic> {
        let mut mount = Mount::default();
        let mut readonly = None;
        for field in &self.fields {
            match &field.value {
                None => mount.set_bare(field, &mut readonly)?,
                Some(value) => mount.set(field, &expand(value)?, &mut readonly)?,
            }
        }
        // Only what is kept between steps, or thrown away, is written to by default.
        mount.readonly = readonly.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        mount
            .check()
            .map_err(|message| Diagnostic::new(message, self.span))?;
        Ok(mount)
    }
}

impl Mount {
    /// A field without `=`.
    fn set_bare(&mut self, field: &MountField, readonly: &mut Option<bool>) -> Result<(), Diagnostic> {
        match field.key.as_str() {
            "readonly" | "ro" => *readonly = Some(true),
            "readwrite" | "rw" => *readonly = Some(false),
            "required" => {
                self.check_may_be_required(field)?;
                self.required = true;
            }
            key if KEYS.contains(&key) => {
                return Err(
                    Diagnostic::new(format!("`{}` lacks its value", field.text), field.span)
                        .with_help(format!("write `{key}=VALUE`")),
                );
            }
            _ => return Err(unknown(field)),
        }
        Ok(())
    }

    fn set(
        &mut self,
        field: &MountField,
        value: &str,
        readonly: &mut Option<bool>,
    ) -> Result<(), Diagnostic> {
        let key = field.key.as_str();
        match key {
            "type" => self.kind = kind(value, field)?,
            FROM => value.clone_into(&mut self.from),
            "source" | "src" => value.clone_into(&mut self.source),
            "target" | "dst" | "destination" => value.clone_into(&mut self.target),
            "readonly" | "ro" => *readonly = Some(boolean(value, key, field.span)?),
            "readwrite" | "rw" => *readonly = Some(!boolean(value, key, field.span)?),
            "required" => {
                self.check_may_be_required(field)?;
                self.required = boolean(value, key, field.span)?;
            }
            "size" if self.kind == MountKind::Tmpfs => {
                self.size = bytes(value).ok_or_else(|| {
                    invalid(value, field)
                        .with_help("a size is a number of bytes, or a number with a unit as in `64m`")
                })?;
            }
            "size" => return Err(self.misfit(field)),
            "id" => value.clone_into(&mut self.id),
            "sharing" => self.sharing = Some(sharing(value, field)?),
            "mode" => self.mode = Some(number(value, 8, field)?),
            "uid" => self.uid = Some(number(value, 10, field)?),
            "gid" => self.gid = Some(number(value, 10, field)?),
            "env" => self.env = Some(value.to_owned()),
            _ => return Err(unknown(field)),
        }
        Ok(())
    }

    fn check_may_be_required(&self, field: &MountField) -> Result<(), Diagnostic> {
        match self.kind {
            MountKind::Secret | MountKind::Ssh => Ok(()),
            _ => Err(self.misfit(field)),
        }
    }

    /// A field that the type, as far as it is known by then, does not have.
    fn misfit(&self, field: &MountField) -> Diagnostic {
        let message = format!("a mount of type `{}` has no `{}`", self.kind.name(), field.key);
        Diagnostic::new(message, field.span).with_help("fields are read in order, so write `type=` first")
    }

    /// What can be said only once all fields are known.
    fn check(&self) -> Result<(), String> {
        let has_owner = matches!(self.kind, MountKind::Secret | MountKind::Ssh | MountKind::Cache);
        let owner = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
        if let Some((key, _)) = owner.iter().find(|(_, value)| value.is_some() && !has_owner) {
            return Err(format!("a mount of type `{}` has no `{key}`", self.kind.name()));
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return Err(format!(
                "a mount of type `{}` has no `sharing`, only a cache has",
                self.kind.name()
            ));
        }
        if self.kind != MountKind::Secret {
            return Ok(());
        }
        if !self.from.is_empty() {
            return Err("a secret mount has no `from`".to_owned());
        }
        if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            return Err("a secret mount needs an `id` or a `target`".to_owned());
        }
        if !self.source.is_empty() && !self.id.is_empty() {
            return Err("a secret mount cannot have both `source` and `id`".to_owned());
        }
        Ok(())
    }
}

fn unknown(field: &MountField) -> Diagnostic {
    let error = Diagnostic::new(format!("a mount has no field `{}`", field.key), field.span);
    match suggest::nearest(&field.key, &KEYS) {
        Some(nearest) => error.with_help(format!("did you mean `{nearest}`?")),
        None => error.with_help("fields are separated by commas without blanks"),
    }
}

fn invalid(value: &str, field: &MountField) -> Diagnostic {
    Diagnostic::new(format!("`{}` cannot be `{value}`", field.key), field.span)
}

fn one_of<T: Copy>(value: &str, field: &MountField, options: &[(&str, T)]) -> Result<T, Diagnostic> {
    if let Some((_, option)) = options.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)) {
        return Ok(*option);
    }
    let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
    Err(
        invalid(value, field).with_help(match suggest::nearest(value, &names) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("it is one of {}", names.join(", ")),
        }),
    )
}

fn kind(value: &str, field: &MountField) -> Result<MountKind, Diagnostic> {
    let kinds = [
        MountKind::Bind,
        MountKind::Cache,
        MountKind::Tmpfs,
        MountKind::Secret,
        MountKind::Ssh,
    ];
    one_of(value, field, &kinds.map(|kind| (kind.name(), kind)))
}

fn sharing(value: &str, field: &MountField) -> Result<Sharing, Diagnostic> {
    let options = [
        ("shared", Sharing::Shared),
        ("private", Sharing::Private),
        ("locked", Sharing::Locked),
    ];
    one_of(value, field, &options)
}

/// The spellings that Go's `strconv.ParseBool` takes.
pub(crate) fn boolean(value: &str, key: &str, span: Span) -> Result<bool, Diagnostic> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Diagnostic::new(format!("`{key}` cannot be `{value}`"), span)
            .with_help("it is `true` or `false`")),
    }
}

fn number(value: &str, radix: u32, field: &MountField) -> Result<u32, Diagnostic> {
    // A sign is refused, unlike by `from_str_radix` alone.
    let digits = value.starts_with(|c: char| c.is_digit(radix));
    let number = digits.then(|| u32::from_str_radix(value, radix).ok()).flatten();
    number.ok_or_else(|| {
        invalid(value, field).with_help(if radix == 8 {
            "it is an octal number"
        } else {
            "it is a whole number"
        })
    })
}

/// A size in bytes: a number, and perhaps one of `b k m g t p` (powers of 1024), with or without `b` or `ib`
/// behind. The rules are those of docker's `units.RAMInBytes`.
fn bytes(value: &str) -> Option<i64> {
    let last = value.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let (number, suffix) = if value[last..].starts_with(' ') {
        (&value[..last], &value[last + 1..])
    } else {
        value.split_at(last + 1)
    };
    let number: f64 = number.parse().ok().filter(|number: &f64| *number >= 0.0)?;
    let suffix = suffix.to_lowercase();
    let (unit, behind) = suffix.split_at_checked(1).unwrap_or(("", suffix.as_str()));
    let power = match unit {
        "" | "b" if behind.is_empty() => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    if !matches!(behind, "" | "b" | "ib") {
        return None;
    }
    // A size that does not fit ends at the largest one.
    #[expect(clippy::cast_possible_truncation, reason = "fractions of a byte do not count")]
    Some((number * 1024_f64.powi(power)) as i64)
}

#[cfg(test)]
mod tests;
