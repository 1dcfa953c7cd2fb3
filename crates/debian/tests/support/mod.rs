//! A signed archive made for a test, and a server that can misbehave.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part of it, and fails by panicking"
)]

pub(crate) mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use distil_debian::Keyring;
use distil_oci::Digest;
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
};
use pgp::ser::Serialize;
use pgp::types::Password;

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A key made for one test.
pub(crate) struct SigningKey(SignedSecretKey);

impl SigningKey {
    pub(crate) fn generate() -> SigningKey {
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Test <test@example.invalid>".to_owned());
        SigningKey(params.build().unwrap().generate(rand::rngs::OsRng).unwrap())
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        SignedPublicKey::from(self.0.clone()).to_bytes().unwrap()
    }

    pub(crate) fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.add(&self.public()).unwrap();
        keyring
    }

    pub(crate) fn sign(&self, text: &str) -> String {
        let key = &self.0.primary_key;
        let message = CleartextSignedMessage::sign(rand::rngs::OsRng, text, key, &Password::empty());
        message
            .unwrap()
            .to_armored_string(ArmorOptions::default())
            .unwrap()
    }
}

/// Suites with packages, below `debian` and `debian-security` as a full mirror has them.
pub(crate) struct TestArchive {
    directory: tempfile::TempDir,
    pub(crate) key: SigningKey,
    /// Suite to the paragraphs of its index.
    packages: BTreeMap<String, String>,
}

impl TestArchive {
    /// The suites `bookworm`, `bookworm-updates` and `bookworm-security`, still empty.
    pub(crate) fn new() -> TestArchive {
        let suites = ["bookworm", "bookworm-updates", "bookworm-security"];
        TestArchive {
            directory: tempfile::tempdir().unwrap(),
            key: SigningKey::generate(),
            packages: suites
                .into_iter()
                .map(|suite| (suite.to_owned(), String::new()))
                .collect(),
        }
    }

    /// The folder that holds `debian` and `debian-security`.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What `--mirror` takes.
    pub(crate) fn url(&self) -> String {
        format!("file:{}/debian", self.path().display())
    }

    pub(crate) fn archive_of(&self, suite: &str) -> PathBuf {
        let security = suite.ends_with("-security");
        self.path()
            .join(if security { "debian-security" } else { "debian" })
    }

    pub(crate) fn in_release(&self, suite: &str) -> PathBuf {
        self.archive_of(suite).join("dists").join(suite).join("InRelease")
    }

    /// Adds a package to a suite; `fields` are further lines of its control file.
    /// Gives the path of the `.deb` below the archive.
    pub(crate) fn add(&mut self, suite: &str, name: &str, version: &str, fields: &str) -> String {
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@example.invalid>\n{fields}Description: test\n"
        );
        let file = format!("usr/share/{name}/version");
        let deb = deb(&control, &[(&file, version.as_bytes())]);
        let filename = format!("pool/{name}_{}_all.deb", version.replace(':', "%3a"));
        let path = self.archive_of(suite).join(&filename);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &deb).unwrap();
        let paragraph = format!(
            "{control}Filename: {filename}\nSize: {}\nSHA256: {}\n\n",
            deb.len(),
            Digest::sha256(&deb).hex()
        );
        self.packages.get_mut(suite).unwrap().push_str(&paragraph);
        filename
    }

    /// Takes all packages out of a suite; the files stay.
    pub(crate) fn clear(&mut self, suite: &str) {
        self.packages.get_mut(suite).unwrap().clear();
    }

    /// Writes and signs the indexes of all suites. `date` in seconds since 1970;
    /// they are valid for a week.
    pub(crate) fn publish(&self, date: i64) {
        for suite in self.packages.keys() {
            self.publish_suite(suite, date, date + 7 * 86_400);
        }
    }

    pub(crate) fn publish_suite(&self, suite: &str, date: i64, valid_until: i64) {
        let folder = self.archive_of(suite).join("dists").join(suite);
        let mut list = String::new();
        for architecture in ["amd64", "arm64"] {
            let path = format!("main/binary-{architecture}/Packages.gz");
            // The indexes of two architectures are never the same file.
            let named = flate2::GzBuilder::new().comment(architecture);
            let mut packed = named.write(Vec::new(), flate2::Compression::fast());
            packed.write_all(self.packages[suite].as_bytes()).unwrap();
            let packed = packed.finish().unwrap();
            let target = folder.join(&path);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(target, &packed).unwrap();
            list.push_str(&format!(
                "\n {} {} {path}",
                Digest::sha256(&packed).hex(),
                packed.len()
            ));
        }
        let text = format!(
            "Codename: {suite}\nDate: {}\nValid-Until: {}\nComponents: main\nArchitectures: amd64 arm64\nSHA256:{list}\n",
            release_date(date),
            release_date(valid_until)
        );
        fs::write(self.in_release(suite), self.key.sign(&text)).unwrap();
    }
}

/// A time as Release files write it.
fn release_date(time: i64) -> String {
    let text = distil_debian::format_time(time);
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month: usize = text[5..7].parse().unwrap();
    format!(
        "{} {} {} {}",
        &text[8..10],
        months[month - 1],
        &text[..4],
        &text[11..]
    )
}

/// A Debian package with these files.
pub(crate) fn deb(control: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut deb = b"!<arch>\n".to_vec();
    member(&mut deb, "debian-binary", b"2.0\n");
    member(
        &mut deb,
        "control.tar.gz",
        &tar(&[("control", control.as_bytes())]),
    );
    member(&mut deb, "data.tar.gz", &tar(files));
    deb
}

fn member(deb: &mut Vec<u8>, name: &str, content: &[u8]) {
    let size = content.len();
    writeln!(
        deb,
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`",
        0, 0, 0, 100_644
    )
    .unwrap();
    deb.extend_from_slice(content);
    if size % 2 == 1 {
        deb.push(b'\n');
    }
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let mut made = std::collections::BTreeSet::new();
    for (path, content) in files {
        let parents: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
        for parent in parents
            .into_iter()
            .rev()
            .filter(|one| !one.as_os_str().is_empty())
        {
            if made.insert(parent.to_owned()) {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Directory);
                root(&mut header, 0o755);
                header.set_size(0);
                let path = format!("./{}/", parent.display());
                tar.append_data(&mut header, path, &[][..]).unwrap();
            }
        }
        let mut header = tar::Header::new_gnu();
        root(&mut header, 0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, format!("./{path}"), *content)
            .unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Owner, mode and time of what packages ship.
fn root(header: &mut tar::Header, mode: u32) {
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
}
