//! Makes package files, right and wrong ones.
#![allow(dead_code, reason = "not every test needs everything")]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use distil_debian::{PackageIdentity, PackageStore, PackageStoreError, StoredPackage, WantedPackage};
use distil_oci::Digest;

/// One entry of a package: type, path, link target or content.
pub(crate) type Entry<'a> = (tar::EntryType, &'a str, &'a str);

pub(crate) const FILE: tar::EntryType = tar::EntryType::Regular;
pub(crate) const DIR: tar::EntryType = tar::EntryType::Directory;
pub(crate) const SYMLINK: tar::EntryType = tar::EntryType::Symlink;
pub(crate) const LINK: tar::EntryType = tar::EntryType::Link;

/// A header with this path, to be changed and appended.
pub(crate) fn header(kind: tar::EntryType, path: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_mtime(1_600_000_000);
    // Files can then be made without being root.
    header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
    header.set_gid(u64::from(rustix::process::getegid().as_raw()));
    header.set_size(size);
    header.set_cksum();
    header
}

pub(crate) fn tarball(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, path, content) in entries {
        let body = if kind.is_symlink() || kind.is_hard_link() || kind.is_dir() {
            &[]
        } else {
            content.as_bytes()
        };
        let mut header = header(*kind, path, body.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The text of a control file.
pub(crate) fn control_text(name: &str, fields: &str) -> String {
    format!("Package: {name}\nVersion: 1\nArchitecture: all\n{fields}")
}

pub(crate) fn control(name: &str, fields: &str) -> Vec<u8> {
    tarball(&[(FILE, "./control", &control_text(name, fields))])
}

/// An ar archive.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (member, content) in members {
        let size = content.len();
        writeln!(
            bytes,
            "{member:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`",
            0, 0, 0, 100_644
        )
        .unwrap();
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(&b"\n"[..size % 2]);
    }
    bytes
}

/// A package whose data archive is given, packed, with the end of its name.
pub(crate) fn deb_of(name: &str, suffix: &str, data: &[u8]) -> Vec<u8> {
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control(name, "")),
        (&format!("data.tar{suffix}"), data),
    ])
}

pub(crate) fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(format!("{name}.deb"));
    fs::write(&path, bytes).unwrap();
    path
}

/// A package file in `directory`.
pub(crate) fn deb(directory: &Path, name: &str, fields: &str, entries: &[Entry<'_>]) -> PathBuf {
    let bytes = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control(name, fields)),
        ("data.tar", &tarball(entries)),
    ]);
    write(directory, name, &bytes)
}

pub(crate) fn wanted(path: &Path, name: &str) -> WantedPackage {
    WantedPackage {
        deb: path.to_owned(),
        sha256: Digest::sha256(&fs::read(path).unwrap()),
        identity: PackageIdentity {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
        },
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => {
            format!("{error}: {}", chain(source))
        }
        _ => error.to_string(),
    }
}

pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

pub(crate) fn store(directory: &Path) -> PackageStore {
    PackageStore::open(&directory.join("store"), "", "this boot").unwrap()
}

pub(crate) fn get(directory: &Path, one: &WantedPackage) -> Result<Arc<StoredPackage>, PackageStoreError> {
    store(directory).get(one, 2, &NEVER)
}

/// Names in the store's directory.
pub(crate) fn held(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory.join("store/host")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) const SAMPLE: &[Entry<'_>] = &[
    (DIR, "./", ""),
    (DIR, "./usr/", ""),
    (FILE, "./usr/one", "first"),
    (LINK, "./usr/two", "./usr/one"),
    (SYMLINK, "./usr/three", "../etc/none"),
    (FILE, "./etc/empty", ""),
];

pub(crate) fn packed(suffix: &str, plain: &[u8]) -> Vec<u8> {
    match suffix {
        ".xz" => {
            let mut packed = Vec::new();
            let mut encoder = liblzma::bufread::XzEncoder::new(plain, 1);
            encoder.read_to_end(&mut packed).unwrap();
            packed
        }
        ".gz" => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        ".bz2" => {
            let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        ".zst" => zstd::encode_all(plain, 1).unwrap(),
        _ => plain.to_vec(),
    }
}
