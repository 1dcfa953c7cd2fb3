//! Recipes that read suites of their own alone, of an archive made for the test. Debian's cannot be reached here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::ordinary_user::OrdinaryUser;
use crate::program::copy_distil;
use crate::support::{TestArchive, now};

const DAY: i64 = 86_400;

struct World {
    directory: tempfile::TempDir,
    archive: TestArchive,
    /// Who runs the program, when it is not who runs the test.
    user: Option<String>,
}

impl World {
    /// With the recipe `own.yaml`, which has a file from beside it.
    fn new() -> World {
        let mut archive = TestArchive::new();
        archive.add("bookworm", "app", "1.0", "");
        archive.publish(now() - 2 * DAY);
        let directory = tempfile::tempdir().unwrap();
        let world = World {
            directory,
            archive,
            user: None,
        };
        fs::write(world.path("key.pgp"), world.archive.key.public()).unwrap();
        fs::write(world.path("tool"), [0, 159, 146, 150]).unwrap();
        let recipe = format!(
            "name: own\nrelease: bookworm\ndebian-suites: false\npackages: [app]\n\
             sources: [{{url: 'file://{}/debian', suite: bookworm, keyring: key.pgp}}]\n\
             files: [{{path: /opt/tool, source: tool, mode: 0755}}]\n",
            world.archive.path().display()
        );
        fs::write(world.path("own.yaml"), recipe).unwrap();
        world
    }

    /// Everything belongs to `user` from now on, who may not see where the program was built.
    fn of(mut self, user: &OrdinaryUser) -> World {
        copy_distil(&self.path("distil"));
        for folder in [self.directory.path(), self.archive.path()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let chown = Command::new("chown")
            .args(["-R", &user.name])
            .arg(self.directory.path())
            .status();
        assert!(chown.unwrap().success());
        self.user = Some(user.name.clone());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn distil(&self, arguments: &[&str]) -> Output {
        let mut command = match &self.user {
            None => Command::new(env!("CARGO_BIN_EXE_distil")),
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(self.path("distil"));
                command
            }
        };
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("DISTIL_ROOT", self.path("store"))
            .env("DISTIL_MIRROR", "http://127.0.0.1:9/debian")
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .output()
            .unwrap()
    }

    fn works(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.distil(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        output.stdout
    }

    fn kept_indexes(&self) -> Vec<String> {
        let folder = fs::read_dir(self.path("own.lock.d")).unwrap();
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".Packages.")).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Files of subordinate ids can be deleted by the program only.
        self.distil(&["reset", "--force"]);
    }
}

#[test]
fn no_suite_of_debian_is_read() {
    let world = World::new();
    world.works(&["base", "build", "own.yaml", "-t", "own"]);
    assert_eq!(world.works(&["cat", "own", "/opt/tool"]), [0, 159, 146, 150]);
    assert_eq!(world.works(&["cat", "own", "/usr/share/app/version"]), b"1.0");
    // The same without the key fails for want of Debian.
    let recipe = fs::read_to_string(world.path("own.yaml")).unwrap();
    let both = recipe.replace("debian-suites: false\n", "");
    fs::write(world.path("both.yaml"), both).unwrap();
    let output = world.distil(&["base", "build", "both.yaml", "-t", "both"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && error.contains("127.0.0.1:9"),
        "{error}"
    );
}

#[test]
fn files_beside_the_recipe_are_locked_and_indexes_stay_kept() {
    let mut world = World::new();
    let platform = "--platform=linux/amd64";
    world.works(&["base", "lock", "own.yaml", "--keep-indexes", platform]);
    let lock = fs::read_to_string(world.path("own.lock")).unwrap();
    assert!(
        lock.contains("\n[[image.file]]\npath = \"/opt/tool\"\nsource = \"tool\"\nsha256 = "),
        "{lock}"
    );
    let first = world.kept_indexes();
    assert_eq!(first.len(), 1, "{first:?}");

    fs::write(world.path("tool"), "other").unwrap();
    let output = world.distil(&["base", "build", "own.yaml", "--locked", platform]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("file `tool` of the recipe of `own`"), "{error}");

    world.archive.add("bookworm", "app", "2.0", "");
    world.archive.publish(now() - DAY);
    world.works(&["base", "update", "own.lock"]);
    let second = world.kept_indexes();
    assert!(second.len() == 1 && second != first, "{second:?}");
    world.works(&["base", "verify", "own.lock", "--offline"]);
    world.works(&["base", "build", "own.yaml", "--locked", platform, "-t", "own"]);
    assert_eq!(world.works(&["cat", "own", "/opt/tool"]), b"other");
    assert_eq!(world.works(&["cat", "own", "/usr/share/app/version"]), b"2.0");
    // Who deletes them has none again.
    fs::remove_file(world.path("own.lock.d").join(&second[0])).unwrap();
    world.archive.add("bookworm", "app", "3.0", "");
    world.archive.publish(now() - DAY / 2);
    world.works(&["base", "update", "own.lock"]);
    assert_eq!(world.kept_indexes(), [""; 0]);
}

/// The manifests that a lockfile records.
fn manifests(lock: &Path) -> Vec<String> {
    let text = fs::read_to_string(lock).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("manifest = "));
    lines.map(str::to_owned).collect()
}

#[test]
fn an_ordinary_user_records_the_same_digests_as_root() {
    let Some(user) = OrdinaryUser::new() else {
        return;
    };
    let lock = [
        "base",
        "lock",
        "own.yaml",
        "--digests",
        "--keep-indexes",
        "--progress=plain",
    ];
    let world = World::new();
    world.works(&lock);
    let expected = manifests(&world.path("own.lock"));
    assert_eq!(expected.len(), 2, "for amd64 and arm64");
    world.works(&["reset", "--force"]);
    fs::remove_file(world.path("own.lock")).unwrap();
    fs::remove_dir_all(world.path("own.lock.d")).unwrap();

    let mut world = world.of(&user);
    world.works(&lock);
    assert_eq!(manifests(&world.path("own.lock")), expected);
    let owner = fs::metadata(world.path("own.yaml")).unwrap().uid();
    let folder = fs::read_dir(world.path("own.lock.d")).unwrap();
    let kept = folder.map(|entry| entry.unwrap().path());
    for path in kept.chain([world.path("own.lock"), world.path("own.lock.d")]) {
        assert_eq!(fs::metadata(&path).unwrap().uid(), owner, "{}", path.display());
    }
    world.works(&["base", "build", "own.yaml", "--locked", "-q"]);

    world.archive.add("bookworm", "app", "2.0", "");
    world.archive.publish(now() - DAY);
    world.works(&["base", "update", "own.lock", "--digests"]);
    let updated = manifests(&world.path("own.lock"));
    assert!(updated.len() == 2 && updated != expected, "{updated:?}");
    world.works(&["base", "verify", "own.lock", "--offline"]);
}
