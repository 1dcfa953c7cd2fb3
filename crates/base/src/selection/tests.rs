use super::*;

#[test]
fn upstream_versions() {
    for (version, expected) in [
        ("17.0.21+9-1~deb12u1", "17.0.21"),
        ("1:3.13.5-2", "3.13.5"),
        ("20.19.2+dfsg-1", "20.19.2"),
        ("2.0~rc1-3", "2.0"),
        ("7", "7"),
        ("", ""),
    ] {
        assert_eq!(upstream_version(version), expected, "{version}");
    }
}
