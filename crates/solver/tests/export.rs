//! Keys in the form in which a cache is exported.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::*;
use distil_oci::Digest;
use distil_solver::*;

const PLAIN: Content = Content::Ignored;

#[test]
fn exported_records_have_definition_and_content_links() {
    let store = Arc::new(MemoryStore::new());
    let specs = [
        Spec::context(100),
        Spec::new(1, &[]),
        Spec::new(2, &[(1, PLAIN)]),
        Spec::new(3, &[(2, PLAIN), (0, Content::Measured), (1, Content::Computed)]),
    ];
    let answer = solve(&solver(&store), &specs, &[3], &SolveOptions::default())
        .answer
        .unwrap();
    let records = export_records(&answer[0].keys);
    let map = |seed: u64| output_record(&digest(&format!("op {seed}")), 0);
    let content = |at: usize| {
        let value = reference(&specs)[at][0] % 4;
        content_record(&digest(&format!("content {value}")))
    };
    let place = |digest: Digest| records.iter().position(|record| record.digest == digest).unwrap();
    let link = |record, selector: Option<&str>| ExportLink {
        record: place(record),
        selector: selector.map(digest),
    };
    assert_eq!(records.len(), 5);
    assert_eq!(records[place(map(2))].inputs, [vec![link(map(1), None)]]);
    let copy = &records[place(map(3))].inputs;
    assert_eq!(
        copy[..2],
        [vec![link(map(2), None)], vec![link(content(0), None)]]
    );
    let mut both = vec![link(map(1), Some("part")), link(content(1), None)];
    both.sort_unstable();
    assert_eq!(copy[2], both);
    // A cached build exports the same.
    let again = solve(&solver(&store), &specs, &[3], &SolveOptions::default())
        .answer
        .unwrap();
    assert_eq!(
        export_records(&again[0].keys).len(),
        if again[0].cached { 4 } else { 5 }
    );
}

#[test]
fn equal_keys_are_exported_once() {
    let root = |text: &str| Arc::new(CacheKey::new(digest(text), vec![]));
    let link = |key: &Arc<CacheKey>| KeyLink {
        key: Arc::clone(key),
        content: false,
        selector: None,
    };
    let (a, b, c) = (root("a"), root("b"), root("c"));
    let key = |links: Vec<KeyLink>| Arc::new(CacheKey::new(digest("step"), vec![links]));
    let records = export_records(&[
        key(vec![link(&a), link(&b)]),
        key(vec![link(&b), link(&root("b"))]),
    ]);
    assert_eq!(records.len(), 3);
    assert_eq!(
        export_records(&[key(vec![link(&a)]), key(vec![link(&c)])]).len(),
        4
    );
}
