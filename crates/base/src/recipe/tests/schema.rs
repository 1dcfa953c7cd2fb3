//! `docs/recipe.schema.json` and the parser must allow the same.

use serde_json::Value as Json;

use super::super::yaml::{self, Node, Value};
use super::super::{TOP_KEYS, builtins, excludes, part};

fn schema() -> Json {
    serde_json::from_str(include_str!("../../../../../docs/recipe.schema.json")).unwrap()
}

/// A node as JSON; texts without quotes become numbers and truth values where they are such.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), json(&entry.node)))
            .collect(),
        Value::Scalar { text, plain: true } => match (text.parse::<i64>(), text.as_str()) {
            (Ok(number), _) => number.into(),
            (_, "true") => true.into(),
            (_, "false") => false.into(),
            _ => text.as_str().into(),
        },
        Value::Scalar { text, .. } => text.as_str().into(),
    }
}

/// The keywords that the schema uses, `pattern` only as far as a leading slash; gives what is wrong.
fn check(root: &Json, schema: &Json, value: &Json, at: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(target) = schema["$ref"].as_str() {
        let found = root.pointer(target.trim_start_matches('#')).unwrap();
        wrong.extend(check(root, found, value, at));
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        _ => value.is_number(),
    };
    let fits = match &schema["type"] {
        Json::String(name) => is(name),
        Json::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        _ => true,
    };
    let listed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
    let any = schema["anyOf"]
        .as_array()
        .is_none_or(|all| all.iter().any(|one| check(root, one, value, at).is_empty()));
    let slash = schema["pattern"] != "^/" || value.as_str().is_none_or(|text| text.starts_with('/'));
    if !(fits && listed && any && slash) {
        wrong.push(format!("{at}: {value}"));
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        wrong.extend(check(root, &schema["items"], item, &format!("{at}[{number}]")));
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Json::Null, Json::Bool(false)) => wrong.push(at),
            (Json::Null, other) => wrong.extend(check(root, other, item, &at)),
            (known, _) => wrong.extend(check(root, known, item, &at)),
        }
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        if value.get(key.as_str().unwrap()).is_none() {
            wrong.push(format!("{at} has no {key}"));
        }
    }
    wrong
}

#[test]
fn built_in_recipes_follow_the_schema() {
    let schema = schema();
    for one in builtins() {
        let value = json(&yaml::parse(one.file, one.text).unwrap().0);
        assert_eq!(check(&schema, &schema, &value, one.name), Vec::<String>::new());
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let schema = schema();
    for text in [
        "name: x\npackage: [a]",
        "packages: [a]",
        "name: x\nresolve: all",
        "name: x\nfiles: [{path: /a}]",
        "name: x\nfiles: [{path: a, content: b}]",
        "name: x\nfiles: [{path: /a, source: ''}, {path: /b}]",
        "name: x\ndebian-suites: maybe",
        "name: x\nvariants: {tiny: {}}",
        "name: x\nexcludes: [docs]",
        "name: x\npackages: libc6",
    ] {
        let value = json(&yaml::parse("x", text).unwrap().0);
        assert!(!check(&schema, &schema, &value, "").is_empty(), "{text}");
        assert!(super::super::Recipe::parse("x", text).is_err(), "{text}");
    }
}

fn keys(schema: &Json, pointer: &str) -> Vec<String> {
    let object = schema.pointer(pointer).unwrap()["properties"]
        .as_object()
        .unwrap();
    object.keys().cloned().collect()
}

fn sorted<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn the_schema_knows_the_keys_of_the_parser() {
    let schema = schema();
    let top = TOP_KEYS.into_iter().chain(part::PART_KEYS);
    assert_eq!(keys(&schema, ""), sorted(top));
    for (name, known) in [
        ("part", &part::PART_KEYS[..]),
        ("source", part::keys::SOURCE),
        ("input", part::keys::INPUT),
        ("member", part::keys::MEMBER),
        ("user", part::keys::USER),
        ("group", part::keys::GROUP),
        ("file", part::keys::FILE),
        ("directory", part::keys::DIRECTORY),
        ("note", part::keys::NOTE),
        ("part/properties/accounts", part::keys::ACCOUNTS),
    ] {
        assert_eq!(
            keys(&schema, &format!("/$defs/{name}")),
            sorted(known.iter().copied()),
            "{name}"
        );
    }
}

#[test]
fn the_schema_knows_the_words_of_the_parser() {
    let schema = schema();
    let part = &schema["$defs"]["part"]["properties"];
    let listed = |value: &Json| sorted(value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()));
    let sets = &part["excludes"]["items"]["anyOf"][0]["enum"];
    assert_eq!(listed(sets), sorted(excludes::SETS.iter().map(|set| set.name)));
    let words = |words: &[&'static str]| sorted(words.iter().copied());
    let derived: Vec<&str> = part::DERIVED.iter().map(|(word, _)| *word).collect();
    assert_eq!(listed(&part["derived"]["items"]["enum"]), words(&derived));
    let resolve: Vec<&str> = part::RESOLVE.iter().map(|(word, _)| *word).collect();
    assert_eq!(listed(&part["resolve"]["enum"]), words(&resolve));
    let layout: Vec<&str> = part::LAYOUT.iter().map(|(word, _)| *word).collect();
    assert_eq!(listed(&part["layout"]["enum"]), words(&layout));
    let releases: Vec<&str> = part::release_words().iter().map(|(word, _)| *word).collect();
    assert_eq!(keys(&schema, "/$defs/part/properties/releases"), words(&releases));
    let variants: Vec<&str> = part::VARIANTS.iter().map(|(word, _)| *word).collect();
    assert_eq!(keys(&schema, "/$defs/part/properties/variants"), words(&variants));
    let architectures: Vec<&str> = part::ARCHITECTURES.iter().map(|(word, _)| *word).collect();
    assert_eq!(
        keys(&schema, "/$defs/part/properties/architectures"),
        words(&architectures)
    );
}
