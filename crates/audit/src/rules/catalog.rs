//! Every rule: its stable name, how bad what it finds is, and the way out.
//!
//! The list of items is that of what people check distroless images for: shells and tools, permissions, secrets,
//! links and libraries, data that programs need at run time, the config, the package records.

use crate::Severity;

/// One thing that an image is audited for.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable name, kebab-case. Policies and SARIF name it.
    pub id: &'static str,
    /// How bad a finding is unless the policy says otherwise.
    pub severity: Severity,
    /// What it finds, without a full stop.
    pub summary: &'static str,
    /// What to do about a finding, lower case, without a full stop.
    pub fix: &'static str,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $severity:ident, $summary:literal, $fix:literal;)*) => {
        $(pub(super) const $name: &Rule = &Rule {
            id: $id,
            severity: Severity::$severity,
            summary: $summary,
            fix: $fix,
        };)*
        /// Every rule, in the order of reports.
        pub const RULES: &[&Rule] = &[$($name),*];
    };
}

rules! {
    SHELL = "shell", Error, "a shell or a multi-call program",
        "copy what the program needs into an image without one; the exec form of CMD and ENTRYPOINT needs no shell";
    PACKAGE_MANAGER = "package-manager", Error, "a package manager",
        "install packages in a build stage and copy the result";
    NETWORK_TOOL = "network-tool", Error, "a program for the network",
        "leave it in the build stage; `distil debug` brings tools when they are wanted";
    INTERPRETER = "interpreter", Error, "an interpreter that is not what the image starts",
        "leave it out, or make it the entrypoint if the image is for it";
    COMPILER = "compiler", Error, "a compiler or a tool that builds programs",
        "compile in a build stage and copy the result";
    SYSTEM_TOOL = "system-tool", Error, "a program for administrators",
        "leave it in the build stage; `distil debug` brings tools when they are wanted";
    PACKAGE_MANAGER_DATA = "package-manager-data", Warning, "data of a package manager",
        "remove it in the instruction that made it, or copy the result of a build stage";
    SETUID = "setuid", Error, "a program that runs as its owner",
        "drop the bit with `chmod u-s`, or leave the program out";
    SETGID = "setgid", Error, "a program that runs as its group, or a directory that passes its group on",
        "drop the bit with `chmod g-s`, or leave it out";
    FILE_CAPABILITIES = "file-capabilities", Error, "a program with capabilities of its own",
        "drop them with `setcap -r`, and give the container what it needs";
    WORLD_WRITABLE = "world-writable", Error, "everybody may write to it",
        "take the right away with `chmod o-w`";
    STICKY_DIRECTORY = "sticky-directory", Warning, "a directory for everybody's files besides /tmp",
        "remove it, or give it to the user that needs it";
    SPECIAL_FILE = "special-file", Error, "a device, a pipe or a socket",
        "remove it: the runtime makes those that programs need";
    OWNER = "owner", Warning, "it does not belong to root",
        "copy with `--chown=0:0` what the program need not write to";
    EXECUTABLE_DATA = "executable-data", Note, "marked as a program, but none",
        "take the bit away with `chmod a-x`";
    MISSING_INTERPRETER = "missing-interpreter", Warning, "a script whose interpreter is not there",
        "remove the script, or add its interpreter";
    SECRET = "secret", Error, "a key, a password or what holds some",
        "give secrets to a build with `RUN --mount=type=secret`, to a container at run time; replace what was exposed";
    SECRET_IN_CONFIG = "secret-in-config", Error, "a secret in the config or the history",
        "give secrets to a build with `RUN --mount=type=secret`, to a container at run time; replace what was exposed";
    DANGLING_LINK = "dangling-link", Warning, "a link that leads nowhere",
        "remove the link, or copy what it leads to as well";
    MISSING_LIBRARY = "missing-library", Error, "a library, loader or version of one that is not there",
        "`COPY --closure` brings a program with its libraries; or add the package that has it";
    ACCOUNTS = "accounts", Warning, "no accounts, or not that of the image's user",
        "start from a base with `/etc/passwd` and `/etc/group`, or copy them in";
    HOME_DIRECTORY = "home-directory", Warning, "the user's home directory is missing or another's",
        "make the directory in a stage and copy it with `--chown`, or set another WORKDIR";
    TMP_DIRECTORY = "tmp-directory", Warning, "no directory for temporary files",
        "copy a directory of mode 1777 to `/tmp`";
    CA_BUNDLE = "ca-bundle", Warning, "certificates of authorities are missing or out of date",
        "start from a base with certificates, or copy `/etc/ssl/certs/ca-certificates.crt` in";
    ZONE_DATA = "zone-data", Warning, "no time zones",
        "add `deb:SUITE/tzdata` (and `tzdata-legacy` from Debian 13 on)";
    NAME_SERVICES = "name-services", Warning, "the C library is not told where to look for hosts",
        "write `hosts: files dns` to `/etc/nsswitch.conf`";
    NETWORK_NAMES = "network-names", Warning, "names of services or protocols are missing",
        "add `deb:SUITE/netbase`";
    MIME_TYPES = "mime-types", Note, "names of media types are missing",
        "add `deb:SUITE/media-types`";
    OS_RELEASE = "os-release", Warning, "the image does not say what system it is",
        "keep `/etc/os-release` and, on Debian, `/etc/debian_version`: scanners find nothing without";
    LOCALE = "locale", Warning, "the locale that the environment names is missing",
        "copy `/usr/lib/locale/C.utf8` in, or change LANG";
    JAVA_KEYSTORE = "java-keystore", Warning, "Java has no certificates",
        "write a keystore to `/etc/ssl/certs/java/cacerts`, as the java bases do";
    MERGED_USR = "merged-usr", Error, "a link of the merged /usr is missing or broken",
        "copy to `/usr/lib` and `/usr/bin`: a directory over the link hides what is behind it";
    USER_ROOT = "user-root", Warning, "the image runs as root",
        "set USER to a number other than 0, such as 65532";
    ENTRYPOINT = "entrypoint", Error, "what the image starts cannot be started",
        "name a program that is there, by its whole path";
    NO_ENTRYPOINT = "no-entrypoint", Note, "the image does not say what to start",
        "set ENTRYPOINT or CMD";
    SHELL_FORM = "shell-form", Warning, "a command line in the shell form",
        "write it in the exec form: `[\"program\", \"argument\"]`";
    TIME = "time", Note, "a time in the future",
        "set SOURCE_DATE_EPOCH for the build";
    PACKAGE_RECORD = "package-record", Warning, "a package record that scanners cannot read",
        "keep the whole control paragraph: Package, Version and Architecture";
    UNOWNED_ELF = "unowned-elf", Note, "a program or library that no package has",
        "take it from a package where there is one: scanners find no version of it";
    MISSING_LICENCE = "missing-licence", Warning, "a package without its licence",
        "keep `/usr/share/doc/PACKAGE/copyright`";
    LEFTOVER = "leftover", Note, "files that no program needs",
        "remove them in the instruction that made them, or copy the result of a build stage";
}

/// The rule with this name.
#[must_use]
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id).copied()
}
