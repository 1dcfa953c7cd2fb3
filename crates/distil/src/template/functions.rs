//! What a template can do with values.

use serde_json::Value;

/// Every function.
pub(super) const NAMES: [&str; 17] = [
    "and", "eq", "index", "join", "json", "len", "lower", "ne", "not", "or", "print", "println", "slice",
    "split", "title", "truncate", "upper",
];

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    text_function(name, arguments)
        .or_else(|| value_function(name, arguments))
        .unwrap_or_else(|| Err(format!("`{name}` does not take these arguments")))
}

fn text_function(name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
    let text = match (name, arguments) {
        ("json", [value]) => value.to_string(),
        ("upper", [Value::String(text)]) => text.to_uppercase(),
        ("lower", [Value::String(text)]) => text.to_lowercase(),
        ("title", [Value::String(text)]) => title(text),
        ("join", [Value::Array(items), Value::String(separator)]) => {
            items.iter().map(show).collect::<Vec<_>>().join(separator)
        }
        ("join", [Value::Null, Value::String(_)]) => String::new(),
        ("truncate", [Value::String(text), Value::Number(length)]) => {
            let length = usize::try_from(length.as_u64()?).ok()?;
            text.chars().take(length).collect()
        }
        ("slice", [Value::String(text), from, to]) => {
            let place = |value: &Value| usize::try_from(value.as_u64()?).ok();
            match text.get(place(from)?..place(to)?) {
                Some(part) => part.to_owned(),
                None => return Some(Err(format!("`{text}` has no part from {from} to {to}"))),
            }
        }
        ("print", values) => values.iter().map(show).collect(),
        ("println", values) => values.iter().map(show).collect::<Vec<_>>().join(" ") + "\n",
        _ => return None,
    };
    Some(Ok(text.into()))
}

fn value_function(name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
    Some(Ok(match (name, arguments) {
        ("len", [Value::Array(items)]) => items.len().into(),
        ("len", [Value::Object(map)]) => map.len().into(),
        ("len", [Value::String(text)]) => text.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("split", [Value::String(text), Value::String(separator)]) => {
            text.split(separator.as_str()).collect()
        }
        ("eq", [first, rest @ ..]) if !rest.is_empty() => rest.contains(first).into(),
        ("ne", [one, other]) => (one != other).into(),
        ("not", [value]) => (!is_true(value)).into(),
        ("and", values) => values
            .iter()
            .find(|value| !is_true(value))
            .or(values.last())?
            .clone(),
        ("or", values) => values
            .iter()
            .find(|value| is_true(value))
            .or(values.last())?
            .clone(),
        ("index", [value, keys @ ..]) => {
            let mut value = value.clone();
            for key in keys {
                value = match element(&value, key)? {
                    Ok(value) => value,
                    Err(error) => return Some(Err(error)),
                };
            }
            value
        }
        _ => return None,
    }))
}

fn element(value: &Value, key: &Value) -> Option<Result<Value, String>> {
    Some(match (value, key) {
        (Value::Array(items), Value::Number(at)) => {
            let found = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
            found.cloned().ok_or_else(|| format!("there is no element {at}"))
        }
        (Value::Object(map), Value::String(key)) => Ok(map
            .get(key)
            .cloned()
            .unwrap_or_else(|| Value::String(String::new()))),
        (Value::Null, Value::String(_)) => Ok(Value::String(String::new())),
        (Value::Null, at) => Err(format!("there is no element {at}")),
        _ => return None,
    })
}

fn title(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Go's idea of an empty value.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
pub(super) fn show(value: &Value) -> String {
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
