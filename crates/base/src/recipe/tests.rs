mod errors;
mod schema;

use super::*;

fn spec(name: &str, release: &str, tag: &str) -> ImageSpec {
    let chain = RecipeChain::builtin(name).unwrap();
    let request = Request {
        release: DebianRelease::from_name(release),
        architecture: "amd64",
        variant: Variant::from_tag(tag).unwrap(),
    };
    chain.compose(&request).unwrap()
}

#[test]
fn builtins_compose_for_all_that_they_offer() {
    assert_eq!(builtin_chains().count(), builtins().len());
    for one in builtins() {
        let chain = RecipeChain::builtin(one.name).unwrap();
        assert_eq!(chain.recipe().name, one.name);
        assert!(!chain.recipe().description.is_empty() && !chain.recipe().runs.is_empty());
        assert!(!chain.releases().is_empty(), "{}", one.name);
        for release in chain.releases() {
            for architecture in chain.architectures() {
                for variant in Variant::all() {
                    let request = Request {
                        release: Some(release),
                        architecture,
                        variant,
                    };
                    let spec = chain.compose(&request).unwrap();
                    assert_eq!(spec.run.user, if variant.nonroot { "65532" } else { "0" });
                    assert_eq!(spec.excludes.iter().any(|one| one.name == "doc"), variant.slim);
                }
            }
        }
    }
}

#[test]
fn composes_as_upstream_has_it() {
    let base = spec("base", "12", "latest");
    assert_eq!(
        base.packages,
        [
            "base-files",
            "libc6",
            "libssl3",
            "media-types",
            "netbase",
            "tzdata"
        ]
    );
    assert_eq!(base.name, "base-debian12:latest");
    assert_eq!(base.recipes, ["base.yaml", "base-nossl.yaml", "static.yaml"]);
    let names: Vec<&str> = base
        .run
        .environment
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["PATH", "SSL_CERT_FILE"]);
    assert_eq!(base.run.entrypoint, [""; 0]);
    let debug = spec("cc", "13", "debug-nonroot");
    assert_eq!(debug.run.entrypoint, ["/busybox/sh"]);
    assert!(debug.run.environment[0].1.ends_with("/bin:/busybox"));
    assert_eq!(debug.run.workdir, "/home/nonroot");
    let java = spec("java21", "13", "debug");
    assert_eq!(java.run.entrypoint, ["/usr/bin/java", "-jar"]);
    assert!(java.packages.contains(&"openjdk-21-jdk-headless".to_owned()));
    assert!(java.differs.is_some());
    assert!(java.derived.contains(&Derived::CaBundle { java_keystore: true }));
}
