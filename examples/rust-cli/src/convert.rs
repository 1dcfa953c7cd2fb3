//! TOML values as JSON values.

use std::fmt;

use serde_json::Value as Json;
use toml::Value as Toml;

#[derive(Debug, PartialEq)]
pub enum Error {
    /// The text is not TOML.
    Syntax(toml::de::Error),
    /// JSON has no infinity and no "not a number".
    NoSuchNumber(f64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(f, "{error}"),
            Self::NoSuchNumber(number) => write!(f, "JSON has no number `{number}`"),
        }
    }
}

impl std::error::Error for Error {}

/// The JSON of a TOML document, its keys in the same order. Dates become text.
pub fn json_of(text: &str) -> Result<Json, Error> {
    let table = toml::from_str(text).map_err(Error::Syntax)?;
    json(Toml::Table(table))
}

fn json(value: Toml) -> Result<Json, Error> {
    Ok(match value {
        Toml::String(text) => Json::String(text),
        Toml::Integer(number) => Json::from(number),
        Toml::Float(number) => {
            let finite = serde_json::Number::from_f64(number);
            Json::Number(finite.ok_or(Error::NoSuchNumber(number))?)
        }
        Toml::Boolean(truth) => Json::Bool(truth),
        Toml::Datetime(date) => Json::String(date.to_string()),
        Toml::Array(values) => values.into_iter().map(json).collect::<Result<_, _>>()?,
        Toml::Table(table) => {
            let members = table.into_iter().map(|(key, value)| Ok((key, json(value)?)));
            Json::Object(members.collect::<Result<_, _>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value() {
        let toml = "s = 'x'\ni = -1\nf = 2.5\nb = true\nd = 2024-02-29\na = [1, 'y']\n[t]\nz = {}\na = 0\n";
        let json = r#"{"s":"x","i":-1,"f":2.5,"b":true,"d":"2024-02-29","a":[1,"y"],"t":{"z":{},"a":0}}"#;
        assert_eq!(json_of(toml).map(|json| json.to_string()), Ok(json.to_owned()));
    }

    #[test]
    fn what_json_cannot_say() {
        assert_eq!(json_of("x = inf"), Err(Error::NoSuchNumber(f64::INFINITY)));
    }

    #[test]
    fn what_is_no_toml() {
        assert!(matches!(json_of("x = "), Err(Error::Syntax(_))));
    }
}
