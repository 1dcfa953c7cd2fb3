//! Recipes with something wrong in them.

use std::fs;

use proptest::prelude::*;

use super::super::*;

fn error(text: &str) -> String {
    Recipe::parse("my.yaml", text).unwrap_err().to_string()
}

/// A recipe, and a part of what is said of it.
const WRONG: &[(&str, &str)] = &[
    (
        "name: x\npakages: [libc6]\n",
        "my.yaml:2: unknown key `pakages` in the recipe; did you mean `packages`?",
    ),
    (
        "name: x\nvariants:\n  debug:\n    usr: root\n",
        "my.yaml:4: unknown key `usr` in `variants.debug`; did you mean `user`?",
    ),
    (
        "name: x\naccounts:\n  users:\n    - name: a\n",
        "my.yaml:4: `accounts.users` has no `uid`",
    ),
    ("packages: [a]\n", "my.yaml:1: the recipe has no `name`"),
    (
        "name: x\nresolve: closur\n",
        "my.yaml:2: `resolve` cannot be `closur`: did you mean `closure`?",
    ),
    ("name: x\nexcludes: [docs]\n", "did you mean `doc`?"),
    (
        "name: x\npackages:\n  - libc6=2.36\n",
        "my.yaml:3: `packages` cannot be `libc6=2.36`: expected the name of a package",
    ),
    (
        "name: x\npackages: libc6\n",
        "my.yaml:2: `packages` cannot be `libc6`: expected a list",
    ),
    ("name: x\nname: y\n", "my.yaml:2: key `name` stands here twice"),
    (
        "name: x\nreleases:\n  bullseye: {}\n",
        "my.yaml:3: unknown key `bullseye` in `releases`",
    ),
    (
        "name: x\nreleases:\n  trixie: {}\n  13: {}\n",
        "under another name already",
    ),
    (
        "name: x\nsymlinks:\n  usr/bin/a: b\n",
        "my.yaml:3: `symlinks` cannot be `usr/bin/a`: expected an absolute path",
    ),
    (
        "name: x\nfiles:\n  - {path: /a/../b, content: c}\n",
        "my.yaml:3: `files.path` cannot be `/a/../b`",
    ),
    (
        "name: x\nfiles:\n  - {path: /a, mode: 999, content: c}\n",
        "expected permission bits in octal",
    ),
    (
        "name: x\ninputs:\n  - {name: n, version: 1, url: 'ftp://x', sha256: a, members: []}\n",
        "expected an http, https or file URL",
    ),
    (
        "name: x\naccounts:\n  users: [{name: 'a:b', uid: 1}]\n",
        "a text without colon",
    ),
    (
        "name: x\naccounts:\n  users: [{name: a, uid: 4294967295}]\n",
        "a number from 0",
    ),
    (
        "name: x\nuser:\n",
        "my.yaml:2: `user` cannot be ``: expected a text",
    ),
    (
        "name: x\nfiles:\n  - {path: /a, content: b, source: c}\n",
        "my.yaml:3: `files` cannot be `source`: a file has `content` or `source`, not both",
    ),
    (
        "name: x\nfiles: [{path: /a, source: ''}]\n",
        "`files.source` cannot be ``: expected the path of a file",
    ),
    (
        "name: x\ninputs: [{name: n, version: 1, url: 'http://x', sha256: a, members: [], purl: n}]\n",
        "`inputs.purl` cannot be `n`: expected a package URL",
    ),
    ("name: [x\n", "my.yaml:2: "),
    ("name: &a x\n", "my.yaml:1: anchors, aliases and tags"),
    ("name: x\n---\nname: y\n", "a recipe is one document"),
    ("", "my.yaml:1: the file is empty"),
    ("- a\n", "expected a mapping"),
    ("name: X\n", "my.yaml:1: `name` cannot be `X`"),
];

#[test]
fn says_where_and_what() {
    for (text, expected) in WRONG {
        let found = error(text);
        assert!(
            found.contains(expected),
            "{text}\nfound: {found}\nexpected: {expected}"
        );
    }
    let deep = format!("name: {}{}", "[".repeat(60), "]".repeat(60));
    assert!(error(&deep).contains("nested too deeply"));
}

#[test]
fn all_faults_are_told_in_one_run() {
    let text = "pakages: [libc6]\nname: X\nname: y\nresolve: closur\npackages: [a, libc6=1, libc6, B]\n\
        files:\n  - {path: a, mod: 0644}\n  - {path: /b, content: x, uid: -1}\n\
        symlinks: {a: b, /c: ''}\nenvironment: {'a=b': c, d: [e]}\n\
        variants:\n  debug: {usr: root, workdir: x}\n  debgu: {}\n";
    let found = error(text);
    let expected = [
        "my.yaml:1: unknown key `pakages`",
        "my.yaml:2: `name` cannot be `X`",
        "my.yaml:3: key `name` stands here twice",
        "my.yaml:4: `resolve` cannot be `closur`",
        "my.yaml:5: `packages` cannot be `a`",
        "my.yaml:5: `packages` cannot be `libc6=1`",
        "my.yaml:5: `packages` cannot be `B`",
        "my.yaml:7: `files` has no `content`",
        "my.yaml:7: `files.path` cannot be `a`",
        "my.yaml:7: unknown key `mod` in `files`; did you mean `mode`?",
        "my.yaml:8: `files.uid` cannot be `-1`",
        "my.yaml:9: `symlinks` cannot be `a`",
        "my.yaml:9: `symlinks./c` cannot be ``",
        "my.yaml:10: `environment` cannot be `a=b`",
        "my.yaml:10: `environment.d` cannot be `a list`",
        "my.yaml:12: `variants.debug.workdir` cannot be `x`",
        "my.yaml:12: unknown key `usr`",
        "my.yaml:13: unknown key `debgu`",
    ];
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{found}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "found: {line}\nexpected: {expected}");
    }
}

#[test]
fn all_contradictions_are_told_in_one_run() {
    let text = "name: a\nextends: static\nwithout: [one,\n  two]\n\
        files:\n  - {path: /tmp/a/b, content: x}\n  - {path: /tmp/a, content: x}\n\
        accounts:\n  users:\n    - {name: me, uid: 65532}\n  groups:\n    - {name: us, gid: 0}\n";
    let found = compose(&[("a.yaml", text)]).unwrap_err().to_string();
    let expected = [
        ":3: `without` names `one`",
        ":4: `without` names `two`",
        ":6: `/tmp/a/b` lies below `/tmp/a`",
        ":10: `me` has uid 65532",
        ":12: `us` has gid 0",
    ];
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{found}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(&format!("a.yaml{expected}")), "{line}\n{expected}");
    }
}

/// Writes recipe files and opens the first.
fn open(files: &[(&str, &str)]) -> Result<RecipeChain, RecipeError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    RecipeChain::open(&folder.path().join(files[0].0))
}

fn compose(files: &[(&str, &str)]) -> Result<ImageSpec, RecipeError> {
    open(files)?.compose(&Request {
        release: None,
        architecture: "amd64",
        variant: Variant::default(),
    })
}

#[test]
fn extends_what_there_is() {
    let text = |result: Result<ImageSpec, RecipeError>| result.unwrap_err().to_string();
    let found = text(compose(&[("a.yaml", "name: a\n\nextends: bse\n")]));
    assert!(
        found.contains("a.yaml:3: there is no recipe `bse` to extend; did you mean `base`?"),
        "{found}"
    );
    let found = text(compose(&[("a.yaml", "name: a\nextends: mine\n")]));
    assert!(found.contains("`./mine.yaml`"), "{found}");
    let found = text(compose(&[
        ("a.yaml", "name: a\nextends: ./b.yaml\n"),
        ("b.yaml", "name: b\nextends: ./a.yaml\n"),
    ]));
    assert!(found.contains("b.yaml:2: `a` extends itself"), "{found}");
    let found = text(compose(&[("a.yaml", "name: a\nextends: ./a.yaml\n")]));
    assert!(found.contains("extends itself"), "{found}");
    let found = text(compose(&[("a.yaml", "name: a\nextends: ./missing.yaml\n")]));
    assert!(found.contains("missing.yaml` cannot be read"), "{found}");
    let found = text(compose(&[(
        "a.yaml",
        "name: a\nextends: java17\nrelease: trixie\n",
    )]));
    assert!(
        found.contains("is not made for `any release`; it is for none"),
        "{found}"
    );
    let found = text(compose(&[(
        "a.yaml",
        "name: a\nextends: base\nwithout: [libssl9]\n",
    )]));
    assert!(found.contains("`without` names `libssl9`"), "{found}");
}

#[test]
fn contradictions_are_refused() {
    for (text, expected) in [
        (
            "name: a\nextends: static\nfiles: [{path: /tmp/a/b, content: x}]\nsymlinks: {/tmp/a: /b}\n",
            "lies below `/tmp/a`",
        ),
        (
            "name: a\nextends: static\naccounts: {users: [{name: me, uid: 65532}]}\n",
            "has uid 65532, which another account has",
        ),
        (
            "name: a\nsources: [{url: 'https://x', suite: s, keyring: none.asc}]\n",
            "cannot be read",
        ),
    ] {
        let found = compose(&[("a.yaml", text)]).unwrap_err().to_string();
        assert!(found.contains(expected), "{text}\n{found}");
    }
}

#[test]
fn users_recipes_add_to_built_in_ones() {
    let spec = compose(&[
        (
            "a.yaml",
            "name: my/app\nextends: ./b.yaml\npackages: [libpq5]\nresolve: closure\n\
             environment: {PATH: '/opt/bin:${PATH}', EMPTY: ''}\nentrypoint: [/opt/bin/app]\n\
             architectures: {amd64: {packages: [libx]}, arm64: {packages: [liby]}}\n",
        ),
        (
            "b.yaml",
            "name: b\nextends: base\nwithout: [netbase]\ncmd: [x]\n\
             sources: [{url: 'https://apt.example/debian/', suite: stable, keyring: key.asc}]\n",
        ),
        ("key.asc", "key"),
    ])
    .unwrap();
    assert_eq!(spec.name, "my/app");
    assert_eq!(spec.release, DebianRelease::Trixie);
    for (name, there) in [
        ("libpq5", true),
        ("libx", true),
        ("liby", false),
        ("netbase", false),
        ("libc6", true),
    ] {
        assert_eq!(spec.packages.iter().any(|one| one == name), there, "{name}");
    }
    assert!(spec.run.environment[0].1.starts_with("/opt/bin:/usr/local/sbin:"));
    assert_eq!(spec.run.environment.last().unwrap().1, "");
    assert_eq!((spec.run.cmd.len(), spec.resolve), (0, Resolve::Closure));
    assert_eq!(spec.sources[0].url, "https://apt.example/debian");
    assert_eq!(spec.sources[0].keyring, b"key");
}

#[test]
fn files_come_from_beside_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::write(at("tool"), [0, 159, 146, 150]).unwrap();
    let recipe = |text: &str| {
        fs::write(at("sub/a.yaml"), format!("name: a\nfiles:\n{text}")).unwrap();
        RecipeChain::open(&at("sub/a.yaml"))
    };
    let request = Request {
        release: None,
        architecture: "amd64",
        variant: Variant::default(),
    };
    let file = "  - {path: /tool, source: ../tool, mode: 0755}\n";
    let spec = recipe(file).unwrap().compose(&request).unwrap();
    assert_eq!(*spec.files[0].content.bytes(), [0, 159, 146, 150]);
    let digest = spec.digest();
    fs::write(at("tool"), "other").unwrap();
    let spec = recipe(file).unwrap().compose(&request).unwrap();
    assert_ne!(spec.digest(), digest);

    fs::File::create(at("huge"))
        .unwrap()
        .set_len((64 << 20) + 1)
        .unwrap();
    let error =
        recipe("  - {path: /a, source: none}\n  - {path: /b, source: .}\n  - {path: /c, source: ../huge}\n");
    let error = error.unwrap_err().to_string();
    let expected = [
        (3, "none", "No such file"),
        (4, ".", "it is not a regular file"),
        (5, "../huge", "it has more than 67108864 bytes"),
    ];
    for (found, (line, name, why)) in error.lines().zip(expected) {
        assert!(
            found.contains(&format!("a.yaml:{line}: `files.source` cannot be `{name}`")),
            "{found}"
        );
        assert!(found.contains(why), "{found}");
    }
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn suites_may_be_the_recipes_own_alone() {
    let error = compose(&[("a.yaml", "name: a\ndebian-suites: false\n")]);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("leaves no suite; name others in `sources`"),
        "{error}"
    );
    let own = "name: a\ndebian-suites: false\n\
        sources: [{url: 'https://apt.example/debian', suite: s, keyring: key.asc}]\n";
    let spec = compose(&[("a.yaml", own), ("key.asc", "key")]).unwrap();
    assert!(!spec.debian_suites);
}

#[test]
fn what_comes_from_elsewhere_has_a_package_url() {
    let input = |purl: &str| {
        let text = format!(
            "name: a\ninputs:\n  - {{name: my tool, version: '1:2', url: 'https://x.example/a?b=c', \
             sha256: {}, members: [], license: MIT, supplier: Us, {purl}}}\n",
            "ab".repeat(32)
        );
        let spec = compose(&[("a.yaml", &text)]).unwrap();
        spec.inputs[0].clone()
    };
    let found = input("size: 1");
    let expected = format!(
        "pkg:generic/my%20tool@1:2?checksum=sha256:{}&download_url=https://x.example/a%3Fb%3Dc",
        "ab".repeat(32)
    );
    assert_eq!(found.purl(), expected);
    assert_eq!(
        (found.license.as_deref(), found.supplier.as_deref()),
        (Some("MIT"), Some("Us"))
    );
    assert_eq!(input("purl: 'pkg:npm/x@1'").purl(), "pkg:npm/x@1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z:\\-\\[\\]{}#&*!|>'\"%@ \n\t0-9,?~é]{0,200}") {
        let _ = Recipe::parse("x", &text);
    }

    #[test]
    fn a_damaged_recipe_is_read_or_refused(which in 0..12usize, at in 0..4000usize, with in "[ -~\n]{0,3}") {
        let mut text = builtins()[which].text.to_owned();
        let at = at.min(text.len());
        if text.is_char_boundary(at) {
            text.insert_str(at, &with);
        }
        let _ = Recipe::parse("x", &text);
    }
}
