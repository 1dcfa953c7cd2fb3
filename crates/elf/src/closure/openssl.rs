//! OpenSSL's directory: configuration, and where it looks for trusted certificates by itself.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::collect::{Collector, Need};
use super::data::BUNDLES;
use super::{ClosureError, Reason};

const MAX_LIBRARY: usize = 32 << 20;
const MAX_CONFIGURATION: usize = 1 << 20;

impl Collector<'_, '_> {
    /// Brings what `libcrypto` (at the real path `crypto`) opens; certificates only for `tls`. Its directories are
    /// read from the library, as `openssl version -a` shows them.
    pub(super) fn bring_openssl(&mut self, crypto: &Path, tls: bool) -> Result<(), ClosureError> {
        let first = self.rules.insert("openssl".to_owned());
        let first_tls = tls && self.rules.insert("openssl certificates".to_owned());
        if !first && !first_tls {
            return Ok(());
        }
        let Some(bytes) = self.stage.read(crypto, MAX_LIBRARY)? else {
            return Ok(());
        };
        if let Some(directory) = compiled_in(&bytes, b"OPENSSLDIR: \"") {
            if first {
                self.bring_configuration(&directory.join("openssl.cnf"), 0)?;
            }
            if first_tls {
                self.bring_default_bundle(&directory)?;
            }
        }
        if let Some(modules) = compiled_in(&bytes, b"MODULESDIR: \"") {
            let entries = self.stage.entries(&modules)?;
            let names: Vec<_> = entries.iter().map(|entry| entry.name.to_string_lossy()).collect();
            if !names.is_empty() {
                let note = format!(
                    "`libcrypto` may load the providers `{}` from `{}`; name them as sources when they are used",
                    names.join("`, `"),
                    modules.display()
                );
                self.out.notes.insert(note);
            }
        }
        Ok(())
    }

    fn bring_configuration(&mut self, path: &Path, depth: usize) -> Result<(), ClosureError> {
        let what = "OpenSSL configuration";
        let Some(real) = self.bring(path, &Reason::Data { what })? else {
            return Ok(());
        };
        if depth > 8 {
            return Ok(());
        }
        let text = self.stage.read(&real, MAX_CONFIGURATION)?.unwrap_or_default();
        for line in text.split(|byte| *byte == b'\n') {
            let Some(rest) = line.trim_ascii().strip_prefix(b".include") else {
                continue;
            };
            let rest = rest.trim_ascii();
            let rest = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii();
            let included = Path::new(std::ffi::OsStr::from_bytes(rest));
            if included.is_absolute() {
                self.bring_configuration(included, depth + 1)?;
            }
        }
        Ok(())
    }

    /// OpenSSL looks for `cert.pem` and for files in `certs` that are named by a hash. Where the stage relies on the
    /// latter, the bundle with the same certificates is put in the place of the former.
    fn bring_default_bundle(&mut self, directory: &Path) -> Result<(), ClosureError> {
        let reason = Reason::Data {
            what: "trusted certificates",
        };
        if self.bring(&directory.join("cert.pem"), &reason)?.is_some() {
            return Ok(());
        }
        if self.stage.entries(&directory.join("certs"))?.is_empty() {
            return Ok(());
        }
        for bundle in BUNDLES {
            if let Some(real) = self.bring(Path::new(bundle), &reason)? {
                let link = self.stage.trail(directory)?.real.join("cert.pem");
                self.out.added.insert(link, real.clone());
                self.task(real, Need::Along, None);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The path behind `label` in a library, up to the quote.
fn compiled_in(library: &[u8], label: &[u8]) -> Option<PathBuf> {
    let at = library.windows(label.len()).position(|window| window == label)?;
    let rest = &library[at + label.len()..];
    let end = rest.iter().take(4096).position(|byte| *byte == b'"')?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(&rest[..end]));
    path.is_absolute().then_some(path)
}
