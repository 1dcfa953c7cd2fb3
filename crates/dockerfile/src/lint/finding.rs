//! What can be found, and the sentence that tells it.

use std::fmt;

use super::Rule;

/// One violation of a rule, with the values that its sentence names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is named after its rule, and its sentence shows every value"
)]
pub enum Finding<'a> {
    ConsistentInstructionCasing {
        keyword: &'a str,
        /// The casing of the majority.
        lower: bool,
    },
    CopyIgnoredFile {
        is_add: bool,
        path: &'a str,
    },
    DuplicateStageName {
        name: &'a str,
    },
    ExposeInvalidFormat {
        port: &'a str,
    },
    ExposeProtoCasing {
        port: &'a str,
    },
    FromAsCasing {
        from: &'a str,
        r#as: &'a str,
    },
    FromPlatformFlagConstDisallowed {
        platform: &'a str,
    },
    InvalidBaseImagePlatform {
        image: &'a str,
        expected: &'a str,
        actual: &'a str,
    },
    InvalidDefaultArgInFrom {
        base: &'a str,
    },
    InvalidDefinitionDescription {
        /// `FROM` or `ARG`.
        instruction: &'a str,
        name: &'a str,
    },
    JsonArgsRecommended {
        keyword: &'a str,
    },
    LegacyKeyValueFormat {
        keyword: &'a str,
    },
    MaintainerDeprecated,
    MultipleInstructionsDisallowed {
        keyword: &'a str,
    },
    NoEmptyContinuation,
    RedundantTargetPlatform {
        platform: &'a str,
    },
    ReservedStageName {
        name: &'a str,
    },
    SecretsUsedInArgOrEnv {
        /// `ARG` or `ENV`.
        instruction: &'a str,
        name: &'a str,
    },
    StageNameCasing {
        name: &'a str,
    },
    UndefinedArgInFrom {
        name: &'a str,
        meant: Option<&'a str>,
    },
    UndefinedVar {
        name: &'a str,
        meant: Option<&'a str>,
    },
    WorkdirRelativePath {
        path: &'a str,
    },
}

impl Finding<'_> {
    /// The rule that is broken.
    pub fn rule(&self) -> Rule {
        match self {
            Self::ConsistentInstructionCasing { .. } => Rule::ConsistentInstructionCasing,
            Self::CopyIgnoredFile { .. } => Rule::CopyIgnoredFile,
            Self::DuplicateStageName { .. } => Rule::DuplicateStageName,
            Self::ExposeInvalidFormat { .. } => Rule::ExposeInvalidFormat,
            Self::ExposeProtoCasing { .. } => Rule::ExposeProtoCasing,
            Self::FromAsCasing { .. } => Rule::FromAsCasing,
            Self::FromPlatformFlagConstDisallowed { .. } => Rule::FromPlatformFlagConstDisallowed,
            Self::InvalidBaseImagePlatform { .. } => Rule::InvalidBaseImagePlatform,
            Self::InvalidDefaultArgInFrom { .. } => Rule::InvalidDefaultArgInFrom,
            Self::InvalidDefinitionDescription { .. } => Rule::InvalidDefinitionDescription,
            Self::JsonArgsRecommended { .. } => Rule::JsonArgsRecommended,
            Self::LegacyKeyValueFormat { .. } => Rule::LegacyKeyValueFormat,
            Self::MaintainerDeprecated => Rule::MaintainerDeprecated,
            Self::MultipleInstructionsDisallowed { .. } => Rule::MultipleInstructionsDisallowed,
            Self::NoEmptyContinuation => Rule::NoEmptyContinuation,
            Self::RedundantTargetPlatform { .. } => Rule::RedundantTargetPlatform,
            Self::ReservedStageName { .. } => Rule::ReservedStageName,
            Self::SecretsUsedInArgOrEnv { .. } => Rule::SecretsUsedInArgOrEnv,
            Self::StageNameCasing { .. } => Rule::StageNameCasing,
            Self::UndefinedArgInFrom { .. } => Rule::UndefinedArgInFrom,
            Self::UndefinedVar { .. } => Rule::UndefinedVar,
            Self::WorkdirRelativePath { .. } => Rule::WorkdirRelativePath,
        }
    }
}

impl fmt::Display for Finding<'_> {
    #[rustfmt::skip]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ConsistentInstructionCasing { keyword, lower } => write!(f,
                "Command '{keyword}' should match the case of the command majority ({})",
                if lower { "lowercase" } else { "uppercase" }),
            Self::CopyIgnoredFile { is_add, path } => write!(f,
                "Attempting to {} file {} that is excluded by .dockerignore",
                if is_add { "Add" } else { "Copy" }, Quoted(path)),
            Self::DuplicateStageName { name } =>
                write!(f, "Duplicate stage name {}, stage names should be unique", Quoted(name)),
            Self::ExposeInvalidFormat { port } => write!(f,
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"),
            Self::ExposeProtoCasing { port } =>
                write!(f, "Defined protocol '{port}' in EXPOSE instruction should be lowercase"),
            Self::FromAsCasing { from, r#as } =>
                write!(f, "'{as}' and '{from}' keywords' casing do not match"),
            Self::FromPlatformFlagConstDisallowed { platform } =>
                write!(f, "FROM --platform flag should not use constant value {}", Quoted(platform)),
            Self::InvalidBaseImagePlatform { image, expected, actual } => write!(f,
                "Base image {image} was pulled with platform {}, expected {} for current build",
                Quoted(actual), Quoted(expected)),
            Self::InvalidDefaultArgInFrom { base } =>
                write!(f, "Default value for ARG {base} results in empty or invalid base image name"),
            Self::InvalidDefinitionDescription { instruction, name } =>
                write!(f, "Comment for {instruction} should follow the format: `# {name} <description>`"),
            Self::JsonArgsRecommended { keyword } => write!(f,
                "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"),
            Self::LegacyKeyValueFormat { keyword } => write!(f,
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"),
            Self::MaintainerDeprecated =>
                f.write_str("Maintainer instruction is deprecated in favor of using label"),
            Self::MultipleInstructionsDisallowed { keyword } => write!(f,
                "Multiple {keyword} instructions should not be used in the same stage because only the last one \
                 will be used"),
            Self::NoEmptyContinuation => f.write_str("Empty continuation line"),
            Self::RedundantTargetPlatform { platform } => write!(f,
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"),
            Self::ReservedStageName { name } =>
                write!(f, "Stage name should not use the same name as reserved stage {}", Quoted(name)),
            Self::SecretsUsedInArgOrEnv { instruction, name } => write!(f,
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {})", Quoted(name)),
            Self::StageNameCasing { name } => write!(f, "Stage name '{name}' should be lowercase"),
            Self::UndefinedArgInFrom { name, meant } => {
                write!(f, "FROM argument '{name}' is not declared")?;
                meant.map_or(Ok(()), |meant| write!(f, " (did you mean {meant}?)"))
            }
            Self::UndefinedVar { name, meant } => {
                write!(f, "Usage of undefined variable '${name}'")?;
                meant.map_or(Ok(()), |meant| write!(f, " (did you mean ${meant}?)"))
            }
            Self::WorkdirRelativePath { path } => write!(f,
                "Relative workdir {} can have unexpected results if the base image changes", Quoted(path)),
        }
    }
}

/// Letters, marks, numbers, punctuation, symbols and the plain space, by the standard library's table; a letter in
/// front keeps it from escaping combining marks.
fn is_printable(c: char) -> bool {
    let text = String::from_iter(['a', c]);
    matches!(c, '\'' | '"' | '\\') || text.escape_debug().eq(text.chars())
}

/// A text in double quotes as Go's `%q` writes it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\x07' => f.write_str("\\a")?,
                '\x08' => f.write_str("\\b")?,
                '\t' => f.write_str("\\t")?,
                '\n' => f.write_str("\\n")?,
                '\x0b' => f.write_str("\\v")?,
                '\x0c' => f.write_str("\\f")?,
                '\r' => f.write_str("\\r")?,
                c if is_printable(c) => write!(f, "{c}")?,
                c if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
                c if u32::from(c) <= 0xffff => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "\\U{:08x}", u32::from(c))?,
            }
        }
        f.write_str("\"")
    }
}

/// Whether a variable's name says that it holds a secret: one of its parts between underscores is a word for one,
/// and none says that only a file's name, a public half or a version is meant.
pub fn is_secret_name(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "passwd",
        "pword",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let has = |words: &[&str]| {
        name.split('_')
            .any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
    };
    has(&SECRET) && !has(&HARMLESS)
}
