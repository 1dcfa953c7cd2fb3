//! The part of Go's templates that people use with docker's `--format`: fields, pipelines, `range`, `if`, `with`
//! and the functions of [`functions::NAMES`].

mod functions;
mod parse;

use serde_json::Value;

use self::functions::{is_true, show};
use crate::error::CliError;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug)]
enum Node {
    Text(String),
    Print(Action),
    /// `if` and `with`; `with` makes the value the dot.
    Branch {
        condition: Action,
        with: bool,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Action,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// A pipeline with its text, for errors.
#[derive(Debug)]
struct Action {
    source: String,
    pipeline: Pipeline,
}

/// Commands whose results are the last argument of the next.
type Pipeline = Vec<Vec<Word>>;

#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// `.A.B`; empty for `.` alone.
    Field(Vec<String>),
    /// `$.A.B`: the same from the whole object.
    Root(Vec<String>),
    Literal(Value),
    Function(String),
    Group(Pipeline),
}

impl Template {
    /// Reads a template; `\t` and `\n` are escapes, as in docker.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self {
            nodes: parse::nodes(&text)?,
        })
    }

    /// The text for one object.
    pub(crate) fn render(&self, object: &Value) -> Result<String, CliError> {
        let mut out = String::new();
        render(&self.nodes, object, object, &mut out)?;
        Ok(out)
    }

    /// The template with each field replaced by the heading of its column.
    pub(crate) fn headings(&self, heading: impl Fn(&str) -> String) -> String {
        let first = |action: &Action| {
            action.pipeline.iter().flatten().find_map(|word| match word {
                Word::Field(path) => path.first().map(|name| heading(name)),
                _ => None,
            })
        };
        let part = |node: &Node| match node {
            Node::Text(plain) => plain.clone(),
            Node::Print(action) => first(action).unwrap_or_default(),
            Node::Branch { condition, .. } => first(condition).unwrap_or_default(),
            Node::Range { over, .. } => first(over).unwrap_or_default(),
        };
        self.nodes.iter().map(part).collect()
    }
}

fn render(nodes: &[Node], dot: &Value, root: &Value, out: &mut String) -> Result<(), CliError> {
    for node in nodes {
        match node {
            Node::Text(plain) => out.push_str(plain),
            Node::Print(action) => out.push_str(&show(&action.value(dot, root)?)),
            Node::Branch {
                condition,
                with,
                then,
                otherwise,
            } => {
                let value = condition.value(dot, root)?;
                match (is_true(&value), with) {
                    (true, true) => render(then, &value, root, out)?,
                    (true, false) => render(then, dot, root, out)?,
                    (false, _) => render(otherwise, dot, root, out)?,
                }
            }
            Node::Range {
                over,
                body,
                otherwise,
            } => {
                let items: Vec<Value> = match over.value(dot, root)? {
                    Value::Array(items) => items,
                    Value::Object(map) => map.into_iter().map(|(_, value)| value).collect(),
                    Value::Null => Vec::new(),
                    _ => return Err(over.wrong("`range` needs a list or a map")),
                };
                if items.is_empty() {
                    render(otherwise, dot, root, out)?;
                }
                for item in &items {
                    render(body, item, root, out)?;
                }
            }
        }
    }
    Ok(())
}

impl Action {
    fn wrong(&self, what: &str) -> CliError {
        CliError::usage(format!("template action `{{{{{}}}}}`: {what}", self.source))
    }

    fn value(&self, dot: &Value, root: &Value) -> Result<Value, CliError> {
        pipeline(&self.pipeline, dot, root).map_err(|what| self.wrong(&what))
    }
}

fn pipeline(commands: &Pipeline, dot: &Value, root: &Value) -> Result<Value, String> {
    let mut piped: Option<Value> = None;
    for words in commands {
        let value = |word: &Word| match word {
            Word::Literal(value) => Ok(value.clone()),
            Word::Field(path) => field(path, dot),
            Word::Root(path) => field(path, root),
            Word::Group(inner) => pipeline(inner, dot, root),
            Word::Function(name) => functions::call(name, &[]),
        };
        piped = Some(match words.split_first() {
            Some((Word::Function(name), arguments)) => {
                let mut arguments = arguments.iter().map(value).collect::<Result<Vec<_>, _>>()?;
                arguments.extend(piped.take());
                functions::call(name, &arguments)?
            }
            Some((word, [])) if piped.is_none() => value(word)?,
            _ => return Err("one field or function only".into()),
        });
    }
    Ok(piped.unwrap_or(Value::Null))
}

fn field(path: &[String], object: &Value) -> Result<Value, String> {
    let mut value = object;
    let mut parent = "";
    for name in path {
        value = match value {
            Value::Object(map) => match map.get(name) {
                Some(value) => value,
                // Labels are the user's: one that is missing is no mistake.
                None if parent == "Labels" => &Value::Null,
                None => {
                    let known: Vec<&str> = map.keys().map(String::as_str).collect();
                    return Err(format!("there is no `{name}`; there are {}", known.join(", ")));
                }
            },
            Value::Null => &Value::Null,
            _ => return Err(format!("`{name}` is looked for in a plain value")),
        };
        parent = name;
    }
    Ok(value.clone())
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
            ("{{.Config.Labels.k}}{{.Config.Labels.x}}", "v<no value>"),
            ("{{range .Config.Cmd}}<{{.}}>{{end}}", "<x><y>"),
            ("{{range .Config.Cmd}}{{println .}}{{end}}", "x\ny\n"),
            ("{{range .Config.Cmd}}{{$.Tag}}{{else}}none{{end}}", "bb"),
            ("{{range .Config.User}}x{{else}}none{{end}}", "none"),
            ("{{if .Config.User}}u{{else if .Tag}}t{{else}}n{{end}}", "t"),
            ("{{with .Config.Labels}}{{.k}}{{end}}", "v"),
            ("a {{- .Tag -}} c", "abc"),
            ("{{.Config.Cmd | json}}", r#"["x","y"]"#),
            ("{{index (split \"a/b\" \"/\") 1 | upper}}", "B"),
            ("{{if and .Tag (eq .Tag \"b\")}}yes{{end}}", "yes"),
            ("{{slice .Repository 0 1}}{{truncate .Tag 5}}", "ab"),
            ("{{/* nothing */}}x", "x"),
            ("{{json .Config.Labels}}", r#"{"k":"v"}"#),
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
            "{{range .A}}{{end}}",
            "{{if .A}}",
            "{{end}}",
            "{{(.A}}",
            "{{.A | .A}}",
            "{{$x := 1}}",
        ] {
            let error = Template::parse(template)
                .and_then(|template| template.render(&object))
                .unwrap_err();
            assert_eq!(error.exit_code(), 2, "{template}");
        }
    }
}
