//! The table of what well-known libraries open while they run.
//!
//! A rule is here when most programs that use the library fail without the files, and when the files are the same for
//! all of them. Paths that do not exist in the tree are passed over. What is left out on purpose: time zones, fonts,
//! character sets other than UTF-8 (`gconv`), locales other than `C.UTF-8`, mechanisms of SASL and PAM.

use std::path::{Path, PathBuf};

use super::collect::{Collector, Need, Task};
use super::program::Loaded;
use super::{ClosureError, Reason};

/// What is brought for a library.
struct Rule {
    /// File names of libraries start with one of these.
    libraries: &'static [&'static str],
    /// What the files are, in the log.
    what: &'static str,
    /// Patterns of files and directories; a directory comes with all that is in it.
    paths: &'static [&'static str],
    /// Libraries that it opens by name.
    plugins: &'static [&'static str],
}

/// Where distributions keep the bundle of trusted certificates: Debian and Alpine, Fedora (two), SUSE, OpenBSD's
/// and Alpine's second name.
pub(super) const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Libraries that check certificates.
const TLS: [&str; 5] = [
    "libssl.so",
    "libgnutls.so",
    "libgnutls-openssl.so",
    "libmbedx509.so",
    "libwolfssl.so",
];

/// Terminals that a container is used from; each has its own file.
const TERMINALS: &[&str] = &[
    "/{dir}/d/dumb",
    "/{dir}/l/linux",
    "/{dir}/x/xterm",
    "/{dir}/x/xterm-256color",
    "/{dir}/x/xterm-color",
    "/{dir}/v/vt100",
    "/{dir}/v/vt220",
    "/{dir}/s/screen",
    "/{dir}/s/screen-256color",
    "/{dir}/t/tmux",
    "/{dir}/t/tmux-256color",
    "/{dir}/a/ansi",
];

const RULES: &[Rule] = &[
    Rule {
        libraries: &["libtinfo.so", "libtinfow.so", "libncurses.so", "libncursesw.so"],
        what: "terminal descriptions",
        paths: TERMINALS,
        plugins: &[],
    },
    Rule {
        libraries: &["libmagic.so"],
        what: "file type database",
        paths: &[
            "/usr/share/misc/magic.mgc",
            "/usr/share/file/magic.mgc",
            "/etc/magic",
        ],
        plugins: &[],
    },
    Rule {
        libraries: &["libnss3.so"],
        what: "modules of NSS",
        paths: &[],
        plugins: &[
            "libsoftokn3.so",
            "libfreebl3.so",
            "libfreeblpriv3.so",
            "libnssckbi.so",
        ],
    },
    Rule {
        libraries: &["libfontconfig.so"],
        what: "font configuration",
        paths: &["/etc/fonts", "/usr/share/fontconfig"],
        plugins: &[],
    },
    Rule {
        libraries: &["libasound.so"],
        what: "sound configuration",
        paths: &["/usr/share/alsa"],
        plugins: &[],
    },
    Rule {
        libraries: &["libxkbcommon.so"],
        what: "keyboard layouts",
        paths: &["/usr/share/X11/xkb"],
        plugins: &[],
    },
    Rule {
        libraries: &["libproj.so"],
        what: "map projections",
        paths: &["/usr/share/proj"],
        plugins: &[],
    },
    Rule {
        libraries: &["libgdal.so"],
        what: "geographic data",
        paths: &["/usr/share/gdal"],
        plugins: &[],
    },
    Rule {
        libraries: &["libkrb5.so"],
        what: "Kerberos configuration",
        paths: &["/etc/krb5.conf"],
        plugins: &[],
    },
    Rule {
        libraries: &["libldap-2", "libldap.so"],
        what: "LDAP configuration",
        paths: &["/etc/ldap/ldap.conf", "/etc/openldap/ldap.conf"],
        plugins: &[],
    },
];

/// What is only told.
const TOLD: &[(&str, &str)] = &[
    ("libsasl2.so", "mechanisms of SASL (`sasl2`)"),
    ("libpam.so", "modules of PAM (`security`) and `/etc/pam.d`"),
    (
        "libgio-2.0.so",
        "modules of GIO (`gio/modules`) and `/usr/share/glib-2.0/schemas`",
    ),
    (
        "libgdk_pixbuf-2.0.so",
        "loaders of image formats (`gdk-pixbuf-2.0`)",
    ),
    (
        "libMagickCore-",
        "coders of ImageMagick (`ImageMagick-*`) and its configuration",
    ),
    ("libfontconfig.so", "fonts (`/usr/share/fonts`)"),
    ("libgssapi_krb5.so", "plugins of Kerberos (`krb5/plugins`)"),
    ("libp11-kit.so", "PKCS #11 modules (`pkcs11`)"),
    ("libodbc.so", "ODBC drivers and `/etc/odbcinst.ini`"),
];

impl Collector<'_, '_> {
    /// Applies the table to what one program loads.
    pub(super) fn bring_data(&mut self, task: &Task, loaded: &Loaded) -> Result<(), ClosureError> {
        for rule in RULES {
            if has(loaded, rule.libraries) && self.rules.insert(rule.what.to_owned()) {
                self.apply(rule, task, loaded)?;
            }
        }
        for (library, what) in TOLD {
            if has(loaded, &[*library]) {
                let library = library.trim_end_matches(".so").trim_end_matches('-');
                let note = format!("`{library}` may load {what}; name them as sources when they are used");
                self.out.notes.insert(note);
            }
        }
        if has(loaded, &TLS) && self.rules.insert("certificates".to_owned()) {
            self.bring_certificates()?;
        }
        if let Some(crypto) = library(loaded, "libcrypto.so") {
            self.bring_openssl(&crypto, has(loaded, &["libssl.so"]))?;
        }
        self.bring_for_c_library(task, loaded)?;
        self.bring_runtime(loaded)
    }

    fn apply(&mut self, rule: &Rule, task: &Task, loaded: &Loaded) -> Result<(), ClosureError> {
        let reason = Reason::Data { what: rule.what };
        for pattern in rule.paths {
            for pattern in alternatives(pattern) {
                self.bring_matches(&pattern, &reason)?;
            }
        }
        for plugin in rule.plugins {
            self.bring_plugin(task, loaded, plugin, Need::Along)?;
        }
        Ok(())
    }

    /// Brings every path that matches; directories with what is in them.
    pub(super) fn bring_matches(&mut self, pattern: &str, reason: &Reason) -> Result<(), ClosureError> {
        for path in self.stage.matches(Path::new(pattern))? {
            self.bring_whole(&path, reason, &[])?;
        }
        Ok(())
    }

    /// Brings one path; a directory with what is in it but what `without` names.
    pub(super) fn bring_whole(
        &mut self,
        path: &Path,
        reason: &Reason,
        without: &[&str],
    ) -> Result<Option<PathBuf>, ClosureError> {
        let Some(real) = self.bring(path, reason)? else {
            return Ok(None);
        };
        if self.stage.node(&real)?.is_some_and(|node| node.kind.is_dir()) {
            self.bring_tree(&real, reason, without, Need::Along)?;
        } else {
            self.task(real.clone(), Need::Along, None);
        }
        Ok(Some(real))
    }

    fn bring_certificates(&mut self) -> Result<(), ClosureError> {
        let reason = Reason::Data {
            what: "trusted certificates",
        };
        let mut any = false;
        for path in BUNDLES {
            any |= self.bring(Path::new(path), &reason)?.is_some();
        }
        if !any {
            let note = "there are no trusted certificates: TLS connections fail; install `ca-certificates` in the stage";
            self.out.notes.insert(note.to_owned());
        }
        Ok(())
    }
}

/// Whether a library is loaded whose file name starts with one of `prefixes`.
pub(super) fn has(loaded: &Loaded, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| library(loaded, prefix).is_some())
}

/// The real path of the first library whose file name or own name starts with `prefix`.
pub(super) fn library(loaded: &Loaded, prefix: &str) -> Option<PathBuf> {
    let starts =
        |name: Option<&std::ffi::OsStr>| name.is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let found = loaded.objects.iter().find(|(path, elf)| {
        starts(path.file_name()) || starts(elf.soname().map(std::ffi::OsString::as_os_str))
    });
    found.map(|(path, _)| path.clone())
}

/// The places of the terminal database; other patterns stand for themselves.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some(rest) = pattern.strip_prefix("/{dir}") else {
        return vec![pattern.to_owned()];
    };
    let places = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];
    places.map(|place| format!("{place}{rest}")).to_vec()
}
