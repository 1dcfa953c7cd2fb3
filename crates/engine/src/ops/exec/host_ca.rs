//! What a process gets of the authorities that it is lent: files below `/dev`, which is in memory, and the
//! variables that lead programs to them. The distribution's own bundle is never covered: `update-ca-certificates`
//! renames a new file onto it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use distil_rootfs::{MkfileSpec, RmSpec, Tree, Upper, scan_layers};
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
    /// Truststores in directories of the image; each has the bytes of [`Forms::keystore`].
    pub(super) truststores: Vec<PathBuf>,
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
        lent.truststores = homes.into_iter().map(|home| home.join(JSSE)).collect();
        Ok(lent)
    }

    fn java_home(&self) -> Option<&str> {
        let variables = self.meta.env.iter().rev();
        variables
            .filter_map(|pair| pair.strip_prefix("JAVA_HOME="))
            .next()
    }
}

/// Puts truststores where Java looks for them: as files of the new layer, which [`scrub`] takes away, for a file that is
/// mounted there could not be deleted with its Java. In a root that is not written they are mounted.
pub(super) fn place(
    authorities: &HostCa,
    truststores: &[PathBuf],
    layer: Option<&ActiveSnapshot>,
) -> Result<Vec<ProcessMount>, OpError> {
    let forms = authorities.forms().map_err(OpError::failed)?;
    let Some(layer) = layer else {
        let mounts = truststores.iter().map(|path| file(path.clone(), &forms.keystore));
        return Ok(mounts.collect());
    };
    let upper = layer.view().map_err(OpError::failed)?;
    for path in truststores {
        let spec = MkfileSpec {
            path: path.clone(),
            mode: 0o444,
            data: forms.keystore.clone(),
            owner: None,
            timestamp: None,
        };
        upper.mkfile(&spec).map_err(OpError::failed)?;
    }
    Ok(Vec::new())
}

/// Takes the truststores away again, and what the process copied of them, as in `cp -a $JAVA_HOME /opt`: regular files
/// of a new layer that are the keystore of `authorities`.
pub(super) fn scrub(
    authorities: &HostCa,
    truststores: &[PathBuf],
    layer: &ActiveSnapshot,
) -> Result<(), OpError> {
    let forms = authorities.forms().map_err(OpError::failed)?;
    let folder = layer.written_dir();
    let scanned = scan_layers(&[&folder], 0).map_err(OpError::failed)?;
    let upper = layer.written().map_err(OpError::failed)?;
    for directory in scanned.iter().flatten() {
        for entry in &directory.entries {
            let path = directory.path.join(&entry.name);
            let fits = entry.node.kind.is_file() && entry.node.size == forms.keystore.len() as u64;
            if fits && has(&upper, &path, &forms.keystore) {
                remove(&upper, &path)?;
                if truststores.contains(&path) {
                    remove_emptied(&upper, &path)?;
                }
            }
        }
    }
    Ok(())
}

fn has(tree: &dyn Tree, path: &Path, content: &[u8]) -> bool {
    let mut bytes = Vec::with_capacity(content.len());
    let read = tree.open(path).ok().map(|mut file| file.read_to_end(&mut bytes));
    matches!(read, Some(Ok(_))) && bytes == content
}

fn remove(upper: &Upper, path: &Path) -> Result<(), OpError> {
    let Some(path) = path.to_str() else {
        return Err(OpError::failed(format!("`{}` is no UTF-8", path.display())));
    };
    let spec = RmSpec {
        path: path.to_owned(),
        allow_not_found: true,
        allow_wildcard: false,
    };
    upper.rm(&spec).map_err(OpError::failed)
}

/// Removes the directories that a package manager could not remove with their package, for a truststore was left in
/// them.
fn remove_emptied(upper: &Upper, truststore: &Path) -> Result<(), OpError> {
    for directory in truststore.ancestors().skip(1) {
        let is_empty = upper.read_dir(directory).is_ok_and(|entries| entries.is_empty());
        // `/usr/lib/jvm` may belong to the package too, `/usr/lib` and `/opt/java` do not.
        if !is_empty || directory.components().count() <= 3 {
            break;
        }
        remove(upper, directory)?;
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
