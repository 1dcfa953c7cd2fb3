//! Images with one instance of each item.

mod good;
mod seeded;

use std::path::Path;

use crate::testing::World;
use crate::{Finding, Inventory};

fn audited(world: &World) -> Vec<Finding> {
    let view = world.view();
    let inventory = Inventory::read(&view).unwrap();
    super::audit(&view, &inventory, now()).unwrap()
}

/// The machine's time: the files of a [`World`] have it too.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

/// Rule, path, layer and instruction.
type Place<'f> = (&'f str, Option<&'f str>, Option<usize>, Option<&'f str>);

fn places(found: &[Finding]) -> Vec<Place<'_>> {
    found
        .iter()
        .map(|finding| {
            let path = finding.path.as_deref().and_then(Path::to_str);
            (
                finding.id,
                path,
                finding.layer,
                finding.instruction.as_ref().map(crate::Instruction::as_str),
            )
        })
        .collect()
}

#[test]
fn rules_have_names_of_their_own() {
    let mut names: Vec<&str> = super::RULES.iter().map(|rule| rule.id).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for rule in super::RULES {
        assert!(
            rule.id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "{}",
            rule.id
        );
        assert!(
            !rule.summary.ends_with('.') && !rule.fix.ends_with('.'),
            "{}",
            rule.id
        );
        assert_eq!(super::rule(rule.id), Some(*rule));
    }
}

#[test]
fn every_rule_is_documented() {
    let text = include_str!("../../../../../docs/audit.md");
    for rule in super::RULES {
        let line = format!("| `{}` | {} | {} |", rule.id, rule.severity, rule.summary);
        assert!(text.contains(&line), "docs/audit.md lacks: {line}");
    }
}
