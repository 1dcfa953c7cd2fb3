//! What a process gets of the authorities that it is lent: files below `/dev`, which is in memory, and the
//! variables that lead programs to them. The distribution's own bundle is never covered: `update-ca-certificates`
//! renames a new file onto it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use distil_rootfs::{Tree, scan_layers};
use distil_sandbox::{MountSource, ProcessMount};
use distil_snapshot::ActiveSnapshot;
use distil_solver::OpError;

use super::ExecOp;
use crate::host_ca::{Forms, HostCa};

const PEM: &str = "/dev/distil/ca.pem";
const KEYSTORE: &str = "/dev/distil/cacerts";
const APT: &str = "/dev/distil/apt.conf";
const WGET: &str = "/dev/distil/wgetrc";

/// Variables, and the file that each names.
const VARIABLES: &[(&str, &str)] = &[
    // OpenSSL and what asks it; Go; rustls with the system's certificates.
    ("SSL_CERT_FILE", PEM),
    ("CURL_CA_BUNDLE", PEM),
    ("REQUESTS_CA_BUNDLE", PEM),
    ("PIP_CERT", PEM),
    ("NODE_EXTRA_CA_CERTS", PEM),
    ("GIT_SSL_CAINFO", PEM),
    ("CARGO_HTTP_CAINFO", PEM),
    // apt reads this file before all others, so that any of them wins.
    ("APT_CONFIG", APT),
    // Debian's wget is made with GnuTLS, which knows no variable.
    ("WGETRC", WGET),
];

/// Options for the Java of tools that download. `JAVA_TOOL_OPTIONS` would reach every Java, but each one says on
/// standard error that it read it, and so would apt's log in the layer.
const JAVA_TOOLS: &[&str] = &["MAVEN_OPTS", "GRADLE_OPTS", "SBT_OPTS"];

/// The truststore that Java reads in place of `cacerts` where there is one.
const JSSE: &str = "lib/security/jssecacerts";

/// What a process gets.
#[derive(Default)]
pub(super) struct Lent {
    pub(super) mounts: Vec<ProcessMount>,
    /// `NAME=value`.
    pub(super) variables: Vec<OsString>,
    /// A truststore lies in a directory of the image, from where it may be copied.
    pub(super) has_truststore: bool,
}

impl ExecOp {
    /// The files and variables of the authorities that are lent to the process; nothing where none are. `root` is
    /// the process's root; names in `taken` are the user's own variables, which win.
    pub(super) fn lent(&self, root: &dyn Tree, taken: &BTreeSet<&str>) -> Result<Lent, OpError> {
        let Some(authorities) = &self.environment.ephemeral.host_ca else {
            return Ok(Lent::default());
        };
        let forms = authorities.forms().map_err(OpError::failed)?;
        let mut lent = Lent {
            mounts: files(forms),
            ..Lent::default()
        };
        for (name, value) in VARIABLES.iter().filter(|(name, _)| !taken.contains(name)) {
            lent.variables.push(format!("{name}={value}").into());
        }
        let homes = java_homes(root, self.java_home());
        if homes.is_empty() {
            // For a Java that this very step installs.
            for name in JAVA_TOOLS.iter().filter(|name| !taken.contains(*name)) {
                let option = "-Djavax.net.ssl.trustStore";
                let pair = format!("{name}={option}={KEYSTORE} {option}Type=JKS");
                lent.variables.push(pair.into());
            }
        }
        lent.has_truststore = !homes.is_empty();
        for home in homes {
            lent.mounts.push(file(home.join(JSSE), &forms.keystore));
        }
        Ok(lent)
    }

    fn java_home(&self) -> Option<&str> {
        let variables = self.meta.env.iter().rev();
        variables
            .filter_map(|pair| pair.strip_prefix("JAVA_HOME="))
            .next()
    }
}

/// Takes away what a process copied of a truststore that it was lent, as in `cp -a $JAVA_HOME /opt`: regular files
/// of a new layer that are the keystore of `authorities`.
pub(super) fn scrub(authorities: &HostCa, layer: &ActiveSnapshot) -> Result<(), OpError> {
    let forms = authorities.forms().map_err(OpError::failed)?;
    let folder = layer.written_dir();
    let scanned = scan_layers(&[&folder], 0).map_err(OpError::failed)?;
    for directory in scanned.iter().flatten() {
        for entry in &directory.entries {
            let fits = entry.node.kind.is_file() && entry.node.size == forms.keystore.len() as u64;
            let below = directory.path.strip_prefix("/").unwrap_or(&directory.path);
            let path = folder.join(below).join(&entry.name);
            if fits && std::fs::read(&path).is_ok_and(|bytes| bytes == forms.keystore) {
                std::fs::remove_file(&path).map_err(OpError::failed)?;
            }
        }
    }
    Ok(())
}

fn files(forms: &Forms) -> Vec<ProcessMount> {
    vec![
        file(PathBuf::from(PEM), &forms.pem),
        file(PathBuf::from(KEYSTORE), &forms.keystore),
        file(
            PathBuf::from(APT),
            format!("Acquire::https::CaInfo \"{PEM}\";\n").as_bytes(),
        ),
        file(
            PathBuf::from(WGET),
            format!("ca_certificate = {PEM}\n").as_bytes(),
        ),
    ]
}

fn file(target: PathBuf, content: &[u8]) -> ProcessMount {
    ProcessMount {
        target,
        source: MountSource::File {
            content: content.to_vec(),
            uid: 0,
            gid: 0,
            mode: 0o444,
            executable: false,
        },
    }
}

/// Directories of Java installations in `root` whose truststore nobody has replaced. What cannot be read is no
/// Java that could run.
fn java_homes(root: &dyn Tree, named: Option<&str>) -> BTreeSet<PathBuf> {
    let mut candidates: Vec<PathBuf> = named.map(PathBuf::from).into_iter().collect();
    for program in ["/usr/bin/java", "/usr/local/bin/java", "/bin/java"] {
        if let Ok(real) = root.resolve(Path::new(program)) {
            candidates.extend(real.ancestors().nth(2).map(Path::to_owned));
        }
    }
    for folder in ["/usr/lib/jvm", "/opt/java", "/usr/local", "/opt"] {
        let entries = root.read_dir(Path::new(folder)).unwrap_or_default();
        let names = entries
            .into_iter()
            .map(|entry| Path::new(folder).join(entry.name));
        candidates.extend(names);
    }
    // Java 8 has its runtime one level deeper.
    let deeper: Vec<PathBuf> = candidates.iter().map(|home| home.join("jre")).collect();
    candidates
        .into_iter()
        .chain(deeper)
        .filter_map(|home| root.resolve(&home).ok())
        .filter(|home| {
            let has = |name: &str| matches!(root.lookup(&home.join(name)), Ok(Some(_)));
            home != OsStr::new("/") && has("lib/security/cacerts") && !has(JSSE)
        })
        .collect()
}
