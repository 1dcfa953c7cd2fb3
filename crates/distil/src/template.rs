//! The part of Go's templates that people use with docker's `--format`: fields, `json`, `index`, `len`,
//! `upper`, `lower`, `join`.

use serde_json::Value;

use crate::error::CliError;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Action { source: String, words: Vec<Word> },
}

#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// `.A.B`; empty for `.` alone.
    Field(Vec<String>),
    Literal(Value),
    Function(String),
}

const FUNCTIONS: [&str; 6] = ["json", "index", "len", "upper", "lower", "join"];

impl Template {
    /// Reads a template; `\t` and `\n` are escapes, as in docker.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find("{{") {
            let Some(length) = rest[start..].find("}}") else {
                return Err(CliError::usage(format!(
                    "template `{text}`: `{{{{` is never closed"
                )));
            };
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let source = rest[start + 2..start + length].trim().to_owned();
            parts.push(Part::Action {
                words: words(&source)?,
                source,
            });
            rest = &rest[start + length + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text for one object.
    pub(crate) fn render(&self, object: &Value) -> Result<String, CliError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Action { source, words } => text.push_str(&show(&evaluate(source, words, object)?)),
            }
        }
        Ok(text)
    }

    /// The template with each field replaced by the heading of its column.
    pub(crate) fn headings(&self, heading: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(plain) => plain.clone(),
            Part::Action { words, .. } => words
                .iter()
                .find_map(|word| match word {
                    Word::Field(path) => path.first().map(|name| heading(name)),
                    _ => None,
                })
                .unwrap_or_default(),
        };
        self.parts.iter().map(part).collect()
    }
}

fn words(source: &str) -> Result<Vec<Word>, CliError> {
    let bad = |what: &str| CliError::usage(format!("template action `{{{{{source}}}}}`: {what}"));
    let mut words = Vec::new();
    let mut rest = source;
    while !rest.trim_start().is_empty() {
        rest = rest.trim_start();
        if rest.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            match stream.next() {
                Some(Ok(text)) => words.push(Word::Literal(text.into())),
                _ => return Err(bad("a string is never closed")),
            }
            rest = &rest[stream.byte_offset()..];
            continue;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let word = &rest[..end];
        rest = &rest[end..];
        words.push(if let Some(path) = word.strip_prefix('.') {
            Word::Field(
                path.split('.')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect(),
            )
        } else if let Ok(number) = word.parse::<i64>() {
            Word::Literal(number.into())
        } else if FUNCTIONS.contains(&word) {
            Word::Function(word.to_owned())
        } else {
            return Err(bad(&format!(
                "`{word}` is not known; there are {}",
                FUNCTIONS.join(", ")
            )));
        });
    }
    if words.is_empty() {
        Err(bad("nothing to print"))
    } else {
        Ok(words)
    }
}

fn evaluate(source: &str, words: &[Word], object: &Value) -> Result<Value, CliError> {
    let bad = |what: String| CliError::usage(format!("template action `{{{{{source}}}}}`: {what}"));
    let argument = |word: &Word| -> Result<Value, CliError> {
        match word {
            Word::Literal(value) => Ok(value.clone()),
            Word::Field(path) => {
                let mut value = object;
                for name in path {
                    value = match value {
                        Value::Object(map) => map.get(name).ok_or_else(|| {
                            let known: Vec<&str> = map.keys().map(String::as_str).collect();
                            bad(format!("there is no `{name}`; there are {}", known.join(", ")))
                        })?,
                        Value::Null => &Value::Null,
                        _ => return Err(bad(format!("`{name}` is looked for in a plain value"))),
                    };
                }
                Ok(value.clone())
            }
            Word::Function(name) => Err(bad(format!("`{name}` needs its argument after it"))),
        }
    };
    let Some((Word::Function(function), arguments)) = words.split_first() else {
        return match words {
            [word] => argument(word),
            _ => Err(bad("one field or function only".into())),
        };
    };
    let arguments = arguments.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
    match (function.as_str(), arguments.as_slice()) {
        ("json", [value]) => Ok(Value::String(value.to_string())),
        ("len", [Value::Array(items)]) => Ok(items.len().into()),
        ("len", [Value::Object(map)]) => Ok(map.len().into()),
        ("len", [Value::String(text)]) => Ok(text.len().into()),
        ("len", [Value::Null]) => Ok(0.into()),
        ("upper", [Value::String(text)]) => Ok(text.to_uppercase().into()),
        ("lower", [Value::String(text)]) => Ok(text.to_lowercase().into()),
        ("join", [Value::Array(items), Value::String(separator)]) => {
            Ok(items.iter().map(show).collect::<Vec<_>>().join(separator).into())
        }
        ("index", [Value::Array(items), Value::Number(at)]) => at
            .as_u64()
            .and_then(|at| items.get(usize::try_from(at).ok()?))
            .cloned()
            .ok_or_else(|| bad(format!("there is no element {at}"))),
        ("index", [Value::Object(map), Value::String(key)]) => {
            Ok(map.get(key).cloned().unwrap_or(Value::String(String::new())))
        }
        ("index", [Value::Null, _]) => Ok(Value::String(String::new())),
        _ => Err(bad(format!("`{function}` does not take these arguments"))),
    }
}

/// A value as Go prints it.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".into(),
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", show(value)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn renders_as_docker() {
        let object = json!({
            "Repository": "a", "Tag": "b", "Config": {"Cmd": ["x", "y"], "Labels": {"k": "v"}, "User": null},
        });
        for (template, text) in [
            ("{{.Repository}}:{{.Tag}}", "a:b"),
            ("{{json .Config.Cmd}}", r#"["x","y"]"#),
            ("{{.Config.Cmd}}", "[x y]"),
            ("{{index .Config.Cmd 1}}", "y"),
            ("{{index .Config.Labels \"k\"}}", "v"),
            ("{{len .Config.Cmd}}", "2"),
            ("{{join .Config.Cmd \",\"}}", "x,y"),
            ("{{upper .Tag}}\\t!", "B\t!"),
            ("{{ .Config.Labels }}", "map[k:v]"),
        ] {
            assert_eq!(
                Template::parse(template).unwrap().render(&object).unwrap(),
                text,
                "{template}"
            );
        }
    }

    #[test]
    fn wrong_templates_are_usage_errors() {
        let object = json!({"A": 1});
        for template in [
            "{{.A",
            "{{}}",
            "{{foo .A}}",
            "{{.B}}",
            "{{json}}",
            "{{.A .A}}",
            "{{\"x}}",
        ] {
            let error = Template::parse(template)
                .and_then(|template| template.render(&object))
                .unwrap_err();
            assert_eq!(error.exit_code(), 2, "{template}");
        }
    }
}
