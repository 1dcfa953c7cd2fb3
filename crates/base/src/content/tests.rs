//! Contents against what other programs make of the same, where they are installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

/// The files of an unpacked package, as the archive's packages hold them.
fn host_certificates() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut files = Vec::new();
    let mut pending = vec![Path::new("/usr/share/ca-certificates").to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.as_os_str().as_encoded_bytes()[1..].to_vec();
                files.push((name, fs::read(path).unwrap()));
            }
        }
    }
    files
}

fn certificate_bundle(files: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let named = files
        .iter()
        .filter_map(|(path, content)| Some((certificate_name(path)?, content)));
    let mut named: Vec<_> = named.collect();
    named.sort();
    let mut bundle = Vec::new();
    for (_, content) in named {
        add_certificate(&mut bundle, content);
    }
    bundle
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_bundle_is_that_of_update_ca_certificates() {
    let files = host_certificates();
    let bundle = certificate_bundle(&files);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for name in ["local", "etc", "hooks"] {
        fs::create_dir(path(name)).unwrap();
    }
    let name = |path: &[u8]| String::from_utf8_lossy(certificate_name(path).unwrap()).into_owned();
    let mut names: Vec<String> = files.iter().map(|(path, _)| name(path)).collect();
    names.sort();
    fs::write(path("conf"), names.join("\n") + "\n").unwrap();
    let args = [
        ("--certsconf", path("conf")),
        ("--localcertsdir", path("local")),
        ("--etccertsdir", path("etc")),
        ("--hooksdir", path("hooks")),
    ];
    let args: Vec<&str> = args
        .iter()
        .flat_map(|(name, value)| [*name, value.as_str()])
        .collect();
    if output("update-ca-certificates", &args).is_none() {
        println!("skipped: `ca-certificates` is not installed");
        return;
    }
    assert!(fs::read(path("etc/ca-certificates.crt")).unwrap() == bundle);
    assert!(decode_pem(&bundle).unwrap().len() > 130);
}

#[test]
fn a_bundle_is_in_byte_order_with_line_ends() {
    let file = |name: &str, content: &str| {
        (
            format!("usr/share/ca-certificates/{name}").into_bytes(),
            content.as_bytes().to_vec(),
        )
    };
    let files = [
        file("b/x.crt", "4\n"),
        file("a.crt", "2\n"),
        file("Z.crt", "1"),
        file("b.crt", "3\n"),
        file("readme", "no"),
    ];
    assert_eq!(certificate_bundle(&files), b"1\n2\n3\n4\n");
}

/// Names of the host's certificates in Java's own spelling.
const NAMES: &str = r#"
import java.io.*; import java.security.cert.*; import javax.security.auth.x500.X500Principal;
public class Names { public static void main(String[] a) throws Exception {
  var out = new PrintStream(System.out, true, "UTF-8");
  for (var c : CertificateFactory.getInstance("X.509").generateCertificates(new FileInputStream(a[0]))) {
    var x = (X509Certificate) c;
    out.println(x.getNotBefore().getTime() / 1000 + " " + x.getSubjectX500Principal().getName(X500Principal.CANONICAL));
  } } }
"#;

#[test]
fn names_are_spelt_as_java_does() {
    let bundle = certificate_bundle(&host_certificates());
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("bundle"), &bundle).unwrap();
    fs::write(path("Names.java"), NAMES).unwrap();
    let has_compiler = Path::new("/usr/bin/javac").exists();
    if bundle.is_empty() || !has_compiler {
        println!("skipped: needs `ca-certificates` and `javac`");
        return;
    }
    let expected = output("java", &[&path("Names.java"), &path("bundle")]).unwrap();
    let found: Vec<String> = decode_pem(&bundle)
        .unwrap()
        .iter()
        .map(|der| {
            let certificate = Certificate::parse(der).unwrap();
            format!("{} {}", certificate.not_before, certificate.subject)
        })
        .collect();
    assert_eq!(found, expected.lines().collect::<Vec<_>>());
}

#[test]
fn java_loads_the_keystore() {
    let bundle = certificate_bundle(&host_certificates());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cacerts").display().to_string();
    let keystore = java_keystore(&bundle).unwrap();
    assert_eq!(keystore, java_keystore(&bundle).unwrap());
    fs::write(&path, keystore).unwrap();
    let args = [
        "-list",
        "-keystore",
        &path,
        "-storepass",
        "changeit",
        "-J-Duser.language=en",
    ];
    let Some(listed) = output("keytool", &args) else {
        println!("skipped: `keytool` is not installed");
        return;
    };
    let entries = listed.matches("trustedCertEntry").count();
    assert_eq!(entries, decode_pem(&bundle).unwrap().len());
}

#[test]
fn damaged_bundles_are_refused() {
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let end = "-----END CERTIFICATE-----\n";
    for (text, expected) in [
        (begin.to_owned(), "is missing"),
        (format!("{begin}*{end}"), "not in PEM"),
        (format!("{begin}{end}"), "cannot be used"),
        (format!("{begin}MAA={end}"), "cannot be used"),
        (format!("{begin}MIIBAA=={end}"), "cannot be used"),
    ] {
        let error = java_keystore(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert_eq!(java_keystore(b"").unwrap().len(), 12 + 20);
}

#[test]
fn commands_of_busybox() {
    assert!(busybox_commands(b"no table").is_empty());
    let table = b"x [\0[[\0arch\0ash\0zcat\0\0rest\0";
    assert_eq!(busybox_commands(table), ["[", "[[", "arch", "ash", "zcat"]);
    let Ok(binary) = fs::read("/usr/bin/busybox") else {
        println!("skipped: busybox is not installed");
        return;
    };
    let listed = output("/usr/bin/busybox", &["--list"]).unwrap();
    assert_eq!(busybox_commands(&binary), listed.lines().collect::<Vec<_>>());
}

/// The libraries of this machine, as `ldconfig` itself lists them.
#[test]
fn a_cache_reads_as_that_of_ldconfig() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache").display().to_string();
    let mut libraries = Vec::new();
    let folder = Path::new("/usr/lib/x86_64-linux-gnu");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_encoded_bytes();
        if !is_library_name(&name) {
            continue;
        }
        let library = fs::File::open(entry.path())
            .ok()
            .and_then(|file| SharedLibrary::read(&file));
        let Some(library) = library else { continue };
        let is_link = entry.file_type().unwrap().is_symlink();
        if let Some(name) = listed_name(&name, is_link, &library) {
            let path = [b"/usr/lib/x86_64-linux-gnu/".as_slice(), &name].concat();
            libraries.push(CachedLibrary {
                name,
                path,
                machine: library.machine,
            });
        }
    }
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    libraries.dedup();
    let ldconfig = "/sbin/ldconfig";
    if libraries.is_empty() || !Path::new(ldconfig).exists() {
        println!("skipped: needs `ldconfig` and a Debian machine of amd64");
        return;
    }
    fs::write(&path, loader_cache(&libraries)).unwrap();
    let ours = output(ldconfig, &["-p", "-C", &path]).unwrap();
    let list = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with('\t'));
        lines.map(str::trim).map(str::to_owned).collect()
    };
    let other = directory.path().join("theirs").display().to_string();
    // Only one directory, and no links are made.
    let config = directory.path().join("conf").display().to_string();
    fs::write(&config, "/usr/lib/x86_64-linux-gnu\n").unwrap();
    output(ldconfig, &["-X", "-f", &config, "-C", &other]).unwrap();
    let theirs = output(ldconfig, &["-p", "-C", &other]).unwrap();
    let theirs: Vec<String> = list(&theirs)
        .into_iter()
        .filter(|line| {
            line.contains("=> /usr/lib/x86_64-linux-gnu/lib")
                || line.contains("=> /usr/lib/x86_64-linux-gnu/ld-")
        })
        .filter(|line| !line.contains("hwcap"))
        .collect();
    let ours = list(&ours);
    let missing: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
    let extra: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
    let read = distil_elf::parse_cache(&fs::read(&path).unwrap());
    assert_eq!(read.len(), libraries.len());
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:#?}\nextra {extra:#?}"
    );
    assert_eq!(ours, theirs);
}

#[test]
fn what_is_no_library_is_none() {
    let Ok(library) = fs::read("/lib/x86_64-linux-gnu/libc.so.6") else {
        println!("skipped: this is no Debian machine of amd64");
        return;
    };
    let read = SharedLibrary::read(library.as_slice()).unwrap();
    assert_eq!(read.soname.as_deref(), Some(&b"libc.so.6"[..]));
    assert_eq!(SharedLibrary::read(&library[..100]), None);
    assert_eq!(SharedLibrary::read(&b"#!/bin/sh\n"[..]), None);
}
