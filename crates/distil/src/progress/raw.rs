//! BuildKit's status messages, one JSON object a line.

use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use distil_dockerfile::lint::Warning;
use distil_engine::DockerfileText;
use distil_engine::progress::{LogStream, ProgressEvent};
use distil_oci::Digest;
use jiff::Timestamp;
use serde_json::json;

use super::Renderer;

/// Writes `client.SolveStatus` objects as buildx's `--progress=rawjson` does.
pub(super) struct Raw;

impl Renderer for Raw {
    fn event(&mut self, event: ProgressEvent, out: &mut dyn Write) -> std::io::Result<()> {
        let value = match event {
            ProgressEvent::Vertex(vertex) => {
                let mut object = json!({"digest": vertex.digest.to_string(), "name": vertex.name});
                if !vertex.inputs.is_empty() {
                    object["inputs"] = vertex.inputs.iter().map(ToString::to_string).collect();
                }
                if let Some(started) = vertex.started {
                    object["started"] = rfc3339(started).into();
                }
                if let Some(completed) = vertex.completed {
                    object["completed"] = rfc3339(completed).into();
                }
                if vertex.cached {
                    object["cached"] = true.into();
                }
                if let Some(error) = vertex.error {
                    object["error"] = error.into();
                }
                json!({"vertexes": [object]})
            }
            ProgressEvent::Log {
                vertex,
                stream,
                data,
                at,
            } => json!({"logs": [{
                "vertex": vertex.to_string(),
                "stream": match stream { LogStream::Stdout => 1, LogStream::Stderr => 2 },
                "data": BASE64_STANDARD.encode(data),
                "timestamp": rfc3339(at),
            }]}),
            ProgressEvent::Task {
                vertex,
                name,
                current,
                total,
                started,
                completed,
            } => {
                let mut object = json!({
                    "id": name, "vertex": vertex.to_string(), "current": current,
                    "started": rfc3339(started),
                });
                if total > 0 {
                    object["total"] = total.into();
                }
                if let Some(completed) = completed {
                    object["completed"] = rfc3339(completed).into();
                }
                json!({"statuses": [object]})
            }
            ProgressEvent::Warning { vertex, message } => {
                let mut object = json!({"level": 1, "short": BASE64_STANDARD.encode(message)});
                if let Some(vertex) = vertex {
                    object["vertex"] = vertex.to_string().into();
                }
                json!({"warnings": [object]})
            }
            ProgressEvent::Check {
                vertex,
                warning,
                dockerfile,
            } => json!({"warnings": [check(vertex, &warning, &dockerfile)]}),
        };
        writeln!(out, "{value}")
    }

    fn finish(&mut self, _out: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }
}

/// A `client.VertexWarning`: texts and files in base64, one range a line.
fn check(vertex: Digest, warning: &Warning, dockerfile: &DockerfileText) -> serde_json::Value {
    let lines = warning.span.first_line..=warning.span.last_line;
    let ranges: Vec<serde_json::Value> = lines
        .map(|line| json!({"start": {"line": line}, "end": {"line": line}}))
        .collect();
    let mut object = json!({
        "vertex": vertex.to_string(),
        "level": 1,
        "short": BASE64_STANDARD.encode(warning.to_string()),
        "detail": [BASE64_STANDARD.encode(warning.rule.description())],
        "sourceInfo": {
            "filename": dockerfile.name,
            "data": BASE64_STANDARD.encode(&dockerfile.text),
            "language": "Dockerfile",
        },
        "range": ranges,
    });
    if let Some(url) = warning.rule.url() {
        object["url"] = url.into();
    }
    object
}

fn rfc3339(time: std::time::SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}
