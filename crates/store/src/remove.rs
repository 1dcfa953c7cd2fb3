//! Removing trees that contain directories without any permission, such as overlay's
//! `work/work`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes a tree, which may be absent or a plain file. Symlinks are removed, not followed.
///
/// A directory that refuses to be read or changed is given mode 0700 and tried once more.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_dir() => return fs::remove_file(path),
        Ok(_) => {}
    }
    let mut opened = false;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !opened => {
                open_up(path)?;
                opened = true;
            }
            // Somebody else removes it too: on with what is left, if anything.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_err() {
                    return Ok(());
                }
            }
            other => return other,
        }
    }
}

/// Gives the owner every permission on all directories of a tree.
fn open_up(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_directories_and_links_go_and_targets_stay() {
        let directory = tempfile::tempdir().expect("temp dir");
        let (tree, other) = (directory.path().join("tree"), directory.path().join("other"));
        fs::create_dir_all(tree.join("work/work/deep")).expect("creates");
        fs::create_dir(&other).expect("creates");
        std::os::unix::fs::symlink(&other, tree.join("link")).expect("links");
        for closed in ["work/work/deep", "work/work"] {
            fs::set_permissions(tree.join(closed), fs::Permissions::from_mode(0o000)).expect("closes");
        }
        remove_tree(&tree).expect("removes");
        assert!(!tree.exists() && other.exists());
        remove_tree(&tree).expect("nothing to do");
    }

    #[test]
    fn several_may_remove_the_same_tree() {
        let directory = tempfile::tempdir().expect("temp dir");
        let tree = directory.path().join("tree");
        for number in 0..200 {
            fs::create_dir_all(tree.join(format!("{}/{number}", number % 7))).expect("creates");
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| remove_tree(&tree).expect("removes"));
            }
        });
        assert!(!tree.exists());
    }
}
