use super::*;
use proptest::prelude::*;

/// A lockfile of format 1 with everything that one can hold.
const WHOLE: &str = include_str!("../../testdata/lock/whole.lock");

fn whole() -> Lockfile {
    Lockfile::parse(WHOLE).unwrap()
}

#[test]
fn is_read_and_written_in_one_form() {
    let lockfile = whole();
    assert_eq!(lockfile.to_text(), WHOLE);
    let image = lockfile.image("app", "amd64").unwrap();
    let shown: Vec<(&str, &str, &Reason)> = image
        .packages
        .iter()
        .map(|one| (one.name.as_str(), one.version.as_str(), &one.reason))
        .collect();
    assert_eq!(
        shown,
        [
            ("ca-certificates", "20230311", &Reason::Data),
            ("libc6", "2.36-9", &Reason::NeededBy("libssl3".to_owned())),
            ("libssl3", "3.0.15-1", &Reason::Requested),
        ]
    );
    assert_eq!(image.packages[2].omitted, ["debconf (>= 0.5) | debconf-2.0"]);
    let other = lockfile.image("app", "arm64").unwrap();
    assert_eq!(other.packages[0].version, "2.36-9+b1");
    // The order in the file does not count.
    let (head, tables) = WHOLE.split_once("\n[[image]]").unwrap();
    let tables = format!("\n[[image]]{tables}");
    let at = tables.find("\n[[package]]").unwrap();
    let turned = format!("{head}{}{}", &tables[at..], &tables[..at]);
    assert_eq!(Lockfile::parse(&turned).unwrap(), lockfile);
}

#[test]
fn an_input_of_old_has_no_package_url() {
    let old = WHOLE.replace("purl = \"pkg:generic/node@22.11.0\"\nlicense = \"MIT\"\n", "");
    assert_ne!(old, WHOLE);
    let lockfile = Lockfile::parse(&old).unwrap();
    let input = &lockfile.images[0].inputs[0];
    assert_eq!((input.purl.as_str(), &input.license), ("", &None));
    assert_eq!(lockfile.to_text(), old);
}

/// What is replaced, by what, the line of the error and a part of its text.
const WRONG: &[(&str, &str, usize, &str)] = &[
    ("version = 1\n", "", 0, "version"),
    ("version = 1", "version = 2", 0, "version 2 of the format"),
    ("epoch =", "epoc =", 13, "epoc"),
    ("size = 7", "size = -7", 0, "-7"),
    (
        "\"2025-11-08T10:00:00Z\"",
        "\"yesterday\"",
        13,
        "`yesterday` is no time",
    ),
    (
        "\"libssl3\",",
        "\"libssl4\",",
        25,
        "no `[[package]]` for `libssl4` on `amd64`",
    ),
    (
        "libc6=2.36-9 for",
        "libc6 because",
        24,
        "`libc6 because libssl3` is not",
    ),
    (
        "\"libssl3: debconf",
        "\"x: debconf",
        28,
        "with a package of this image",
    ),
    (
        "  \"bookworm-security\",",
        "  \"sid\",",
        20,
        "no `[[suite]]` for `sid`",
    ),
    (
        "architecture = \"arm64\"\nrecipe",
        "architecture = \"amd64\"\nrecipe",
        0,
        "stands twice",
    ),
    (
        "version = \"2.36-9+b1\"",
        "version = \"2.36-9\"",
        0,
        "`libc6=2.36-9+b1` on `arm64`",
    ),
    ("debug-nonroot", "fast", 10, "`fast` is no variant"),
    ("\"per-package\"", "\"many\"", 11, "`many` is no layout"),
    (
        "release = \"bookworm\"",
        "release = \"woody\"",
        9,
        "`woody` is no release",
    ),
    ("[[suite]]", "[[suit]]", 0, "suit"),
];

#[test]
fn tells_the_line_of_what_is_wrong() {
    for &(what, by, line, part) in WRONG {
        let text = WHOLE.replacen(what, by, 1);
        assert_ne!(text, WHOLE, "{what}");
        let error = Lockfile::parse(&text).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(part), "{what}: {shown}");
        if let (ParseError::Syntax { line: found, .. }, true) = (&error, line > 0) {
            assert_eq!(*found, line, "{what}: {shown}");
        }
    }
    assert!(matches!(
        Lockfile::parse("version = 9\nnew = 1\n"),
        Err(ParseError::Version { found: 9 })
    ));
}

#[test]
fn names_what_it_does_not_hold() {
    let lockfile = whole();
    let error = lockfile.image("app", "s390x").unwrap_err().to_string();
    assert!(
        error.contains("`app` for `s390x`") && error.contains("`app` for `amd64`"),
        "{error}"
    );
    let error = Lockfile::default().image("app", "amd64").unwrap_err().to_string();
    assert!(error.contains("only nothing"), "{error}");
}

#[test]
fn checks_what_images_come_out_as() {
    let mut lockfile = whole();
    let (right, wrong) = (Digest::sha256(b"right"), Digest::sha256(b"wrong"));
    let output = Output {
        manifest: right,
        layers: vec![wrong],
    };
    // Nothing is recorded for arm64.
    lockfile.check_output("app", "arm64", &wrong).unwrap();
    lockfile.set_output("app", "arm64", output).unwrap();
    lockfile.check_output("app", "arm64", &right).unwrap();
    let error = lockfile.check_output("app", "arm64", &wrong).unwrap_err();
    assert!(error.to_string().contains(&right.to_string()), "{error}");
    assert_eq!(Lockfile::parse(&lockfile.to_text()).unwrap(), lockfile);
    // An update that changes no package keeps it, one that does forgets it.
    let mut same = whole();
    same.keep_unchanged(&lockfile);
    assert_eq!(same.images[1].output, lockfile.images[1].output);
    let mut other = whole();
    other
        .packages
        .iter_mut()
        .for_each(|package| package.sha256 = wrong);
    other.images.iter_mut().for_each(|image| image.output = None);
    other.keep_unchanged(&lockfile);
    assert_eq!(other.images[1].output, None);
}

#[test]
fn lists_changes_security_first() {
    let old = whole();
    assert!(old.changes(&old).is_empty());
    let text = WHOLE
        .replace("\"20230311\"", "\"20250419\"")
        .replace("\"3.0.15-1\"", "\"3.0.17-1\"")
        .replace("version = \"22.11.0\"", "version = \"22.12.0\"")
        .replacen("spec = \"sha256:00", "spec = \"sha256:11", 1);
    let new = Lockfile::parse(&text).unwrap();
    let shown: Vec<String> = old
        .changes(&new)
        .iter()
        .map(|one| {
            let version = |version: &Option<String>| version.clone().unwrap_or_default();
            format!(
                "{:?} {} {} {} {} {}",
                one.subject,
                one.name,
                version(&one.old),
                version(&one.new),
                one.suite,
                one.architectures.join(",")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Package libssl3 3.0.15-1 3.0.17-1 bookworm-security amd64",
            "Package ca-certificates 20230311 20250419 bookworm amd64",
            "Input node 22.11.0 22.12.0  amd64",
            "Recipe app    amd64",
        ]
    );
    let mut fewer = whole();
    fewer.images.remove(1);
    let gone = old.changes(&fewer);
    assert_eq!((gone.len(), gone[0].subject), (1, Subject::Image));
    assert_eq!(gone[0].new, None);
    assert_eq!(fewer.changes(&old)[0].old, None);
}

#[test]
fn is_saved_whole_with_its_folder() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my.lock");
    assert!(matches!(Lockfile::load(&path), Err(FileError::Missing { .. })));
    let lockfile = whole();
    let names: Vec<String> = lockfile.suites.iter().map(LockedSuite::file_name).collect();
    assert_eq!(names[0], "bookworm.000000000000.InRelease");
    let folder = folder_of(&path);
    std::fs::create_dir(&folder).unwrap();
    for name in ["sid.0123.InRelease", "notes.txt", &names[1]] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    lockfile.save(&path, &[(names[0].clone(), b"signed")]).unwrap();
    assert_eq!(Lockfile::load(&path).unwrap(), lockfile);
    let mut left: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [names[1].clone(), names[0].clone(), "notes.txt".to_owned()]);
    std::fs::write(&path, "version = 1\nx = 1\n").unwrap();
    let error = Lockfile::load(&path).unwrap_err();
    assert!(matches!(
        error,
        FileError::Parse {
            source: ParseError::Syntax { line: 2, .. },
            ..
        }
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn never_panics(at in 0..WHOLE.len(), length in 0usize..40, by in "\\PC{0,6}|[\\[\\]\"=\n{}0-9]{0,6}") {
        if let (Some(before), Some(after)) = (WHOLE.get(..at), WHOLE.get(at + length..))
            && let Ok(lockfile) = Lockfile::parse(&format!("{before}{by}{after}"))
        {
            // What is read is written in a form that reads the same.
            prop_assert_eq!(Lockfile::parse(&lockfile.to_text()).unwrap(), lockfile);
        }
    }

    #[test]
    fn keeps_any_text(name in "\\PC{1,12}", recipe in any::<String>()) {
        let mut lockfile = whole();
        lockfile.images.truncate(1);
        lockfile.images[0].name = name;
        lockfile.images[0].recipe = recipe;
        prop_assert_eq!(Lockfile::parse(&lockfile.to_text()).unwrap(), lockfile);
    }
}
