//! Name look-ups.

use super::*;
use crate::testing::Fixture;
use crate::tree::{DirTree, EmptyTree};

const USERS: &str = "root:x:0:0:root:/root:/bin/sh\n\nbob:x:5:7::/home/bob:/bin/sh\n77:x:8:9:::\nshort:x:3\n";
const GROUPS: &str = "root:x:0:\nbobs:x:7:bob\nwheel:x:10:bob,root\nadm:x:11:bob\n";

fn tree(fixture: &Fixture) -> DirTree {
    let users = format!("etc/passwd={USERS}");
    let path = fixture.dir.path().join("root");
    std::fs::create_dir_all(path.join("etc")).unwrap();
    std::fs::write(path.join("etc/passwd"), &users["etc/passwd=".len()..]).unwrap();
    std::fs::write(path.join("etc/group"), GROUPS).unwrap();
    DirTree::open(&path).unwrap()
}

#[test]
fn names_are_looked_up_in_the_tree() {
    let fixture = Fixture::new();
    let tree = tree(&fixture);
    assert_eq!(find_user(&tree, "bob").unwrap(), Owner { uid: 5, gid: 7 });
    assert_eq!(find_user(&tree, "short").unwrap(), Owner { uid: 3, gid: 0 });
    assert_eq!(find_group(&tree, "wheel").unwrap(), 10);
    assert!(matches!(
        find_user(&tree, "eve"),
        Err(UserError::UnknownUser { .. })
    ));
    assert!(matches!(
        find_group(&tree, "eve"),
        Err(UserError::UnknownGroup { .. })
    ));
    assert!(find_user(&EmptyTree, "root").is_err());
}

#[test]
fn identities_follow_dockers_rules() {
    let fixture = Fixture::new();
    let tree = tree(&fixture);
    let cases: [(_, (_, _, &[u32], _)); 8] = [
        ("", (0, 0, &[10], "/root")),
        ("bob", (5, 7, &[10, 11], "/home/bob")),
        ("5", (5, 7, &[10, 11], "/home/bob")),
        ("bob:wheel", (5, 10, &[], "/home/bob")),
        ("bob:99", (5, 99, &[], "/home/bob")),
        ("1234", (1234, 0, &[], "/")),
        ("1234:5", (1234, 5, &[], "/")),
        ("77", (8, 9, &[], "/")),
    ];
    for (user, (uid, gid, groups, home)) in cases {
        let want = Identity {
            uid,
            gid,
            groups: groups.to_vec(),
            home: PathBuf::from(home),
        };
        assert_eq!(identity(&tree, user).unwrap(), want, "{user}");
    }
    for user in ["eve", "bob:eves", "4294967296", "2147483648", "-1"] {
        assert!(identity(&tree, user).is_err(), "{user}");
    }
    assert!(identity(&EmptyTree, "root").is_err());
    assert_eq!(identity(&EmptyTree, "0").unwrap().home, PathBuf::from("/"));
}
