//! Questions over HTTP, with JSON in both directions.

use std::time::Duration;

use serde_json::Value;

/// Status and body of an answer; `null` where the body is no JSON. An error when nobody answers.
pub(crate) fn ask(method: &str, url: &str, json: Option<&Value>) -> Result<(u16, Value), ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let request = ureq::http::Request::builder().method(method).uri(url);
    let answer = match json {
        Some(json) => agent.run(
            request
                .header("Content-Type", "application/json")
                .body(json.to_string())?,
        ),
        None => agent.run(request.body(())?),
    };
    let mut answer = answer?;
    let body = answer.body_mut().read_to_string()?;
    Ok((
        answer.status().as_u16(),
        serde_json::from_str(&body).unwrap_or(Value::Null),
    ))
}

/// The titles in the list at `url`.
pub(crate) fn titles(url: &str) -> Vec<String> {
    let (status, list) = ask("GET", url, None).unwrap();
    assert_eq!(status, 200, "{list}");
    let title = |todo: &Value| todo["title"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(title).collect()
}
