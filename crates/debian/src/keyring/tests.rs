use super::*;

/// 2024-01-01, when all keys of the test archive were fresh.
const NOW: UnixTime = 1_704_067_200;
const YEAR: UnixTime = 31_536_000;

const GOOD: &[u8] = include_bytes!("../../testdata/archive/dists/test/InRelease");

fn keyring(key: &[u8]) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add(key).unwrap();
    keyring
}

fn good_keyring() -> Keyring {
    keyring(include_bytes!("../../testdata/keys/good.gpg"))
}

fn refusal(keyring: &Keyring, file: &[u8], now: UnixTime) -> String {
    keyring.verify(file, now).unwrap_err().to_string()
}

#[test]
fn accepts_a_subkey_and_gives_the_signed_text() {
    let verified = good_keyring().verify(GOOD, NOW).unwrap();
    assert!(verified.text.starts_with("Suite: stable\nCodename: test\n"));
    assert!(!verified.text.contains("PGP") && !verified.text.contains('\r'));
    assert_eq!(verified.signers.len(), 1);
    // The signing subkey runs out after 20 years.
    assert!(refusal(&good_keyring(), GOOD, NOW + 21 * YEAR).contains("expired at 2043"));
}

#[test]
fn refuses_a_changed_byte() {
    for at in [60, 200, GOOD.len() / 2] {
        let mut changed = GOOD.to_vec();
        changed[at] ^= 1;
        assert!(good_keyring().verify(&changed, NOW).is_err(), "byte {at}");
    }
}

#[test]
fn refuses_text_outside_the_signed_block() {
    let text = String::from_utf8(GOOD.to_vec()).unwrap();
    let before = format!("Suite: evil\n\n{text}");
    assert!(refusal(&good_keyring(), before.as_bytes(), NOW).contains("before the signed block"));
    let after = format!("{text}\nSuite: evil\n");
    assert!(refusal(&good_keyring(), after.as_bytes(), NOW).contains("after the signed block"));
    let twice = format!("{text}{text}");
    assert!(good_keyring().verify(twice.as_bytes(), NOW).is_err());
    let cut = &text[..text.len() / 2];
    assert!(good_keyring().verify(cut.as_bytes(), NOW).is_err());
    assert!(good_keyring().verify(b"", NOW).is_err());
    assert!(good_keyring().verify(&[0xff, 0xfe], NOW).is_err());
}

#[test]
fn names_an_unknown_key() {
    let other = include_bytes!("../../testdata/releases/other");
    let shown = refusal(&good_keyring(), other, NOW);
    assert!(
        shown.contains("3E7FAFF1") || shown.contains("is not trusted"),
        "{shown}"
    );
    assert!(shown.contains("is not trusted"), "{shown}");
    let key = include_bytes!("../../testdata/keys/other.gpg");
    assert!(keyring(key).verify(other, NOW).is_ok());
}

#[test]
fn refuses_expired_and_revoked_keys() {
    let short = include_bytes!("../../testdata/releases/short");
    let ring = keyring(include_bytes!("../../testdata/keys/short.gpg"));
    assert!(ring.verify(short, NOW).is_ok());
    assert!(refusal(&ring, short, NOW + YEAR).contains("expired at 2024-02-09"));
    // It was good when it signed; a revoked key never is.
    assert!(ring.verify_as_made(short).is_ok());
    let revoked = include_bytes!("../../testdata/releases/revoked");
    let ring = keyring(include_bytes!("../../testdata/keys/revoked.gpg"));
    assert!(refusal(&ring, revoked, NOW).contains("is revoked"));
    assert!(ring.verify_as_made(revoked).is_err());
}

#[test]
fn refuses_weak_hashes_and_signatures_of_tomorrow() {
    let weak = include_bytes!("../../testdata/releases/weak");
    assert!(refusal(&good_keyring(), weak, NOW).contains("too weak"));
    assert!(refusal(&good_keyring(), GOOD, NOW - YEAR).contains("in the future"));
}

#[test]
fn refuses_what_is_no_keyring() {
    for bytes in [&b""[..], b"junk", GOOD] {
        assert!(Keyring::default().add(bytes).is_err());
    }
}

#[test]
fn every_shipped_key_is_read() {
    let each: Vec<_> = DEBIAN_KEYS.map(|bytes| read_keys(bytes).unwrap().len()).into();
    assert_eq!(DEBIAN.len(), each.iter().sum::<usize>());
}

#[test]
fn shipped_keys_verify_debian() {
    let keyring = Keyring::debian();
    let now = 1_795_267_000;
    let updates = include_bytes!("../../testdata/debian/trixie-updates.InRelease");
    let security = include_bytes!("../../testdata/debian/trixie-security.InRelease");
    for (file, suite) in [(&updates[..], "trixie-updates"), (security, "trixie-security")] {
        let verified = keyring.verify(file, now).unwrap();
        let release = crate::Release::parse(&verified).unwrap();
        assert_eq!(release.codename, suite);
        assert!(release.file("main/binary-amd64/Packages.xz").is_some());
        let mut tampered = file.to_vec();
        let at = tampered.windows(6).position(|w| w == b"SHA256").unwrap() + 40;
        tampered[at] = if tampered[at] == b'0' { b'1' } else { b'0' };
        assert!(refusal(&keyring, &tampered, now).contains("does not match the text"));
    }
    // All keys have run out by then.
    assert!(refusal(&keyring, updates, now + 10 * YEAR).contains("expired"));
}
