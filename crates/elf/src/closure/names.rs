//! What the C library itself opens: name services, the `C.UTF-8` locale, `libgcc_s`.

use std::path::Path;

use super::collect::{Collector, Need, Task};
use super::program::Loaded;
use super::{ClosureError, Reason};
use crate::loader::Loader;

const MAX_CONFIGURATION: usize = 1 << 20;
/// Nobody has more name services.
const MAX_SERVICES: usize = 64;

/// Functions that ask a name service.
const ASKING: &[&str] = &[
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_r",
    "gethostbyname2",
    "gethostbyname2_r",
    "gethostbyaddr",
    "gethostbyaddr_r",
    "getnameinfo",
    "getpwnam",
    "getpwnam_r",
    "getpwuid",
    "getpwuid_r",
    "getpwent",
    "getpwent_r",
    "getgrnam",
    "getgrnam_r",
    "getgrgid",
    "getgrgid_r",
    "getgrent",
    "getgrent_r",
    "getgrouplist",
    "initgroups",
    "getspnam",
    "getspnam_r",
    "getservbyname",
    "getservbyname_r",
    "getservbyport",
    "getservbyport_r",
    "getprotobyname",
    "getprotobyname_r",
    "getprotobynumber",
    "getprotobynumber_r",
    "getnetbyname",
    "getnetbyname_r",
    "innetgr",
];

/// Functions that read `/etc/services` (`getaddrinfo` does for names of services, which few programs give it).
const SERVICES: &[&str] = &[
    "getservbyname",
    "getservbyname_r",
    "getservbyport",
    "getservbyport_r",
    "getservent",
];

/// Functions that read `/etc/protocols`.
const PROTOCOLS: &[&str] = &[
    "getprotobyname",
    "getprotobyname_r",
    "getprotobynumber",
    "getprotobynumber_r",
    "getprotoent",
];

/// Objects that import everything and say nothing about the program.
const C_LIBRARIES: &[&str] = &["libc.so", "libc-", "ld-", "libstdc++.so", "libc++.so"];

impl Collector<'_, '_> {
    pub(super) fn bring_for_c_library(&mut self, task: &Task, loaded: &Loaded) -> Result<(), ClosureError> {
        let asks = |names: &[&str]| loaded.imports(names, C_LIBRARIES);
        for (names, what, path) in [
            (SERVICES, "names of services", "/etc/services"),
            (PROTOCOLS, "names of protocols", "/etc/protocols"),
        ] {
            if asks(names) {
                self.bring(Path::new(path), &Reason::Data { what })?;
            }
        }
        if let Loader::Musl { path_file, .. } = &loaded.loader {
            if let Some(file) = path_file {
                let what = "configuration of the loader";
                self.bring(file, &Reason::Data { what })?;
            }
            return Ok(());
        }
        if asks(ASKING) {
            self.bring_name_services(task, loaded)?;
        }
        if asks(&["pthread_cancel", "pthread_exit"]) {
            // glibc opens it by name to unwind the stack of the thread.
            self.bring_plugin(task, loaded, "libgcc_s.so.1", Need::Along)?;
        }
        if asks(&["setlocale"]) {
            let what = "the locale C.UTF-8";
            self.bring_matches("/usr/lib/locale/C.[uU][tT][fF]*", &Reason::Data { what })?;
        }
        self.tell(task, loaded);
        Ok(())
    }

    /// Since glibc 2.34 `files` and `dns` are part of the C library; other services, and those of older versions, are
    /// libraries that `nsswitch.conf` names.
    fn bring_name_services(&mut self, task: &Task, loaded: &Loaded) -> Result<(), ClosureError> {
        let what = "name services";
        let configuration = Path::new("/etc/nsswitch.conf");
        self.bring(configuration, &Reason::Data { what })?;
        let text = self
            .stage
            .read(configuration, MAX_CONFIGURATION)?
            .unwrap_or_default();
        let mut services = services(&String::from_utf8_lossy(&text));
        services.extend(["files", "dns"].map(str::to_owned));
        if is_since_2_34(loaded) {
            services.retain(|service| service != "files" && service != "dns");
        }
        services.sort_unstable();
        services.dedup();
        services.truncate(MAX_SERVICES);
        for service in services {
            self.bring_plugin(task, loaded, &format!("libnss_{service}.so.2"), Need::Along)?;
        }
        Ok(())
    }

    fn tell(&mut self, task: &Task, loaded: &Loaded) {
        if loaded.imports(&["iconv_open"], C_LIBRARIES) {
            let note = "character sets other than UTF-8 are modules of the C library (`gconv`); name them as a source \
                        when they are used";
            self.out.notes.insert(note.to_owned());
        }
        if let Some((path, program)) = loaded.objects.first()
            && task.need == Need::Strict
            && program.imports("dlopen")
        {
            let note = format!(
                "`{}` loads libraries by itself (`dlopen`): which ones cannot be seen; name them as sources",
                path.display()
            );
            self.out.notes.insert(note);
        }
    }
}

fn is_since_2_34(loaded: &Loaded) -> bool {
    let library = loaded.object("libc.so.6".as_ref());
    let dynamic = library.and_then(|(_, elf)| elf.dynamic.as_ref());
    dynamic.is_some_and(|dynamic| {
        dynamic
            .versions_defined
            .iter()
            .any(|version| version == "GLIBC_2.34")
    })
}

/// The services in the lines of `nsswitch.conf`, `[STATUS=action]` left out.
fn services(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some((_, listed)) = line.split_once(':') else {
            continue;
        };
        let mut inside = false;
        for word in listed.split_whitespace() {
            inside |= word.starts_with('[');
            let plain = word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !inside && plain && word.len() < 64 {
                found.push(word.to_owned());
            }
            inside &= !word.ends_with(']');
        }
    }
    found
}
