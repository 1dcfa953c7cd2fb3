//! What the build checks ask a registry.

use super::{Registry, Setup, World};

#[test]
fn a_config_is_asked_for_where_a_finding_depends_on_it() {
    let Some(mut registry) = Registry::start(&Setup::default()) else {
        return;
    };
    registry.fill("full", "tools/full:1", &[]);
    let world = World::new();
    let image = format!("{}/tools/full:1", registry.host);
    let looked_up = format!("load metadata for {image}");
    let check = |rest: &str| {
        let dockerfile = format!("FROM {image}\n{rest}");
        let outcome = world.build(&dockerfile, &["--check"]);
        (outcome.stdout, outcome.stderr)
    };
    let none = "Check complete, no warnings found.\n";
    let (stdout, stderr) = check("ENV C=1\n");
    assert!(stdout == none && !stderr.contains(&looked_up), "{stdout}{stderr}");
    // The base sets the variable.
    let (stdout, stderr) = check("ENV C=$A\n");
    assert!(stdout == none && stderr.contains(&looked_up), "{stdout}{stderr}");
    let (stdout, _) = check("ENV C=$AA\n");
    assert!(stdout.contains("(did you mean $A?)"), "{stdout}");
    registry.stop();
    // The config is known now, and its layers were never pulled.
    let (stdout, stderr) = check("ENV C=$A\n");
    assert!(stdout == none && !stderr.contains("WARNING"), "{stdout}{stderr}");
}
