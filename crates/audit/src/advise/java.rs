//! Java: Maven and Gradle.

use std::path::Path;

use super::{AdviseError, Found, Need, read_text};

/// Properties of a pom in which the release stands, the surest first.
const MAVEN: [&str; 5] = [
    "maven.compiler.release",
    "release",
    "java.version",
    "maven.compiler.target",
    "maven.compiler.source",
];

/// What stands before the release in a Gradle file.
const GRADLE: [&str; 7] = [
    "JavaLanguageVersion.of(",
    "jvmToolchain(",
    "options.release",
    "targetCompatibility",
    "sourceCompatibility",
    "JavaVersion.VERSION_1_",
    "JavaVersion.VERSION_",
];

/// Looks for a Maven or Gradle project.
pub(super) fn project(folder: &Path) -> Result<Option<Found>, AdviseError> {
    if let Some(text) = read_text(&folder.join("pom.xml"))? {
        return Ok(Some(found("pom.xml", maven(&text))));
    }
    for name in ["build.gradle", "build.gradle.kts"] {
        if let Some(text) = read_text(&folder.join(name))? {
            return Ok(Some(found(name, gradle(&text))));
        }
    }
    Ok(None)
}

fn found(file: &str, version: Option<u32>) -> Found {
    let why = match version {
        Some(version) => format!("`{file}` asks for Java {version}"),
        None => format!("`{file}` is a Java project that names no version"),
    };
    Found {
        need: Need::Java(version.unwrap_or(1)),
        copy: "--from=build /app.jar /app.jar".to_owned(),
        start: "CMD [\"/app.jar\"]".to_owned(),
        why: vec![why],
        notes: vec!["`build` is the stage that makes the jar".to_owned()],
    }
}

/// The release in a pom: the first of [`MAVEN`] that has a number, properties followed.
fn maven(text: &str) -> Option<u32> {
    MAVEN.iter().find_map(|name| {
        let value = element(text, name)?;
        let value = match value.strip_prefix("${").and_then(|name| name.strip_suffix('}')) {
            Some(property) => element(text, property)?,
            None => value,
        };
        java_number(value)
    })
}

/// The text of the first element of this name.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let start = text.find(&format!("<{name}>"))? + name.len() + 2;
    let length = text[start..].find("</")?;
    Some(text[start..start + length].trim())
}

fn gradle(text: &str) -> Option<u32> {
    GRADLE.iter().find_map(|before| {
        let rest = text.split_once(before)?.1;
        let rest = rest.trim_start_matches([' ', '=', '.', '(', '\'', '"', '\t']);
        let rest = rest.strip_prefix("set(").unwrap_or(rest);
        let rest = rest.strip_prefix("JavaVersion.VERSION_").unwrap_or(rest);
        let rest = rest.strip_prefix("JavaLanguageVersion.of(").unwrap_or(rest);
        java_number(&rest.replacen("1_", "1.", 1))
    })
}

/// 17 of `17`, `17.0.2` and `"17"`, 8 of `1.8`.
fn java_number(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(['"', '\'']);
    let text = text.strip_prefix("1.").unwrap_or(text);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_in_poms() {
        let property = "<properties><java.version>21</java.version></properties>\
                        <maven.compiler.release>${java.version}</maven.compiler.release>";
        assert_eq!(maven(property), Some(21));
        assert_eq!(
            maven("<maven.compiler.target>1.8</maven.compiler.target>"),
            Some(8)
        );
        assert_eq!(
            maven("<configuration><release> 17 </release></configuration>"),
            Some(17)
        );
        assert_eq!(maven("<project/>"), None);
    }

    #[test]
    fn releases_in_gradle_files() {
        for (text, expected) in [
            (
                "java { toolchain { languageVersion = JavaLanguageVersion.of(21) } }",
                Some(21),
            ),
            ("sourceCompatibility = '17'", Some(17)),
            ("targetCompatibility = JavaVersion.VERSION_1_8", Some(8)),
            ("sourceCompatibility JavaVersion.VERSION_11", Some(11)),
            ("kotlin { jvmToolchain(17) }", Some(17)),
            ("tasks.compileJava { options.release.set(25) }", Some(25)),
            ("plugins { id 'java' }", None),
        ] {
            assert_eq!(gradle(text), expected, "{text}");
        }
    }
}
