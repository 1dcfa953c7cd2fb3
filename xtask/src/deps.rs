//! `cargo xtask check-deps` holds the crate graph to the blueprint.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

/// What each crate may depend on; see the table in `ARCHITECTURE.md`. `*` = every crate of a lower level.
const ALLOWED: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("dockerfile", &[]),
    ("rootfs", &[]),
    ("fetch", &[]),
    ("store", &["oci"]),
    ("solver", &["oci"]),
    ("sandbox", &["rootfs"]),
    ("elf", &["rootfs"]),
    ("llb", &["oci"]),
    ("layer", &["oci", "rootfs"]),
    ("snapshot", &["layer", "oci", "rootfs", "store"]),
    ("registry", &["fetch", "oci", "store"]),
    ("debian", &["fetch", "oci", "rootfs"]),
    ("frontend", &["dockerfile", "llb", "oci", "rootfs"]),
    (
        "sources",
        &[
            "base", "debian", "fetch", "layer", "llb", "oci", "registry", "rootfs", "snapshot", "store",
        ],
    ),
    (
        "export",
        &["layer", "oci", "registry", "rootfs", "snapshot", "store"],
    ),
    (
        "audit",
        &[
            "debian", "elf", "fetch", "layer", "oci", "rootfs", "snapshot", "store",
        ],
    ),
    ("base", &["debian", "elf", "layer", "oci", "rootfs", "store"]),
    ("engine", &["*"]),
    ("distil", &["*"]),
];

/// Fails when a crate depends on one that its row does not name.
pub(crate) fn check_deps() -> ExitCode {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .output();
    let metadata: serde_json::Value = match output {
        Ok(output) if output.status.success() => match serde_json::from_slice(&output.stdout) {
            Ok(value) => value,
            Err(error) => return fail(&format!("cannot read the output of cargo metadata: {error}")),
        },
        Ok(output) => return fail(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => return fail(&format!("cannot run cargo metadata: {error}")),
    };
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut forbidden = Vec::new();
    let mut edges = 0;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = crate_name(package["name"].as_str().unwrap_or_default());
        if name == "xtask" {
            continue;
        }
        let Some(row) = allowed.get(name) else {
            forbidden.push(format!(
                "crate `{name}` has no row in the table of xtask/src/main.rs"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let full = dependency["name"].as_str().unwrap_or_default();
            let development = dependency["kind"] == "dev";
            if !full.starts_with("distil-") || development {
                continue;
            }
            edges += 1;
            let target = crate_name(full);
            if !row.contains(&"*") && !row.contains(&target) {
                forbidden.push(format!("`{name}` may not depend on `{target}`"));
            }
        }
    }
    if forbidden.is_empty() {
        println!("check-deps: {edges} edges, all allowed");
        return ExitCode::SUCCESS;
    }
    fail(&forbidden.join("\n"))
}

fn crate_name(package: &str) -> &str {
    package.strip_prefix("distil-").unwrap_or(package)
}

fn fail(message: &str) -> ExitCode {
    eprintln!("check-deps: {message}");
    ExitCode::FAILURE
}
