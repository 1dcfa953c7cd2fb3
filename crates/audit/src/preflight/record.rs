//! Findings as bytes, for a builder that keeps them beside a cached result.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::id;
use crate::{Finding, Instruction, Severity};

/// Changes with the checks: what an older version found is looked for again.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    findings: Vec<Stored>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    severity: u8,
    path: Option<Vec<u8>>,
    layer: Option<usize>,
    instruction: Option<String>,
    message: String,
    fix: Option<String>,
}

const SEVERITIES: [Severity; 3] = [Severity::Note, Severity::Warning, Severity::Error];

/// Findings as bytes.
#[must_use]
pub fn encode(findings: &[Finding]) -> Vec<u8> {
    let stored = |finding: &Finding| Stored {
        id: finding.id.to_owned(),
        severity: SEVERITIES
            .iter()
            .position(|one| *one == finding.severity)
            .map_or(0, |at| at as u8),
        path: finding.path.clone().map(|path| path.into_os_string().into_vec()),
        layer: finding.layer,
        instruction: finding.instruction.as_ref().map(ToString::to_string),
        message: finding.message.clone(),
        fix: finding.fix.clone(),
    };
    let record = Record {
        version: VERSION,
        findings: findings.iter().map(stored).collect(),
    };
    serde_json::to_vec(&record).unwrap_or_default()
}

/// What [`encode`] wrote; `None` for anything else, and for what another version wrote.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<Finding>> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    if record.version != VERSION {
        return None;
    }
    let finding = |stored: Stored| {
        Some(Finding {
            id: id::ALL.iter().find(|known| **known == stored.id)?,
            severity: *SEVERITIES.get(usize::from(stored.severity))?,
            path: stored
                .path
                .map(|path| PathBuf::from(std::ffi::OsString::from_vec(path))),
            layer: stored.layer,
            instruction: stored.instruction.as_deref().map(Instruction::parse),
            message: stored.message,
            fix: stored.fix,
        })
    };
    record.findings.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_back() {
        let mut finding = Finding::new(id::JAVA_VERSION, Severity::Error, "m").fix("f");
        finding.path = Some("/a.jar".into());
        finding.layer = Some(2);
        finding.instruction = Some(Instruction::parse("COPY a b"));
        let all = vec![finding, Finding::new(id::USER_NOT_NUMERIC, Severity::Note, "n")];
        assert_eq!(decode(&encode(&all)), Some(all));
        assert_eq!(decode(b"{}"), None);
        assert_eq!(decode(b"{\"version\":0,\"findings\":[]}"), None);
    }
}
