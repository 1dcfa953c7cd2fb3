//! One instance of each item makes one finding, with path, layer and instruction.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use distil_oci::{Healthcheck, History, ImageConfig};

use super::good::{
    bundle, certificate, is_of_the_tests, mode, put, put_program, root, static_program, world,
};
use super::{audited, places};
use crate::preflight::testing::{Build, program};
use crate::testing::rm;

/// Programs by rule, as the list of items names them.
const PROGRAMS: [(&str, &str); 6] = [
    (
        "shell",
        "sh bash dash ash zsh ksh mksh yash csh tcsh fish rbash busybox toybox",
    ),
    (
        "package-manager",
        "dpkg dpkg-deb apt apt-get apt-cache aptitude apk rpm yum dnf microdnf zypper pacman pip pip3 pipx conda npm \
         npx yarn pnpm corepack gem bundle cargo composer brew snap",
    ),
    (
        "network-tool",
        "curl wget nc ncat netcat socat telnet ssh scp sftp ftp tftp rsync nmap dig nslookup host ping traceroute ip \
         ifconfig ss netstat tcpdump openssl",
    ),
    (
        "interpreter",
        "python3 perl ruby node java jshell lua php tclsh guile keytool jpackage rmiregistry jexec jspawnhelper",
    ),
    ("compiler", "javac gcc cc ld as make"),
    (
        "system-tool",
        "ls cat cp mv rm ln chmod chown mkdir touch dd find xargs grep sed awk mawk gawk tar gzip xz zstd base64 od env \
         id whoami ps kill mount umount su sudo doas login passwd useradd chroot nsenter unshare setpriv strace gdb \
         getent getconf iconv iconvconfig ldd ldconfig locale localedef pldd tzselect zdump zic",
    ),
];

#[test]
fn every_program_is_found_once() {
    let mut world = world();
    let mut expected = Vec::new();
    for (rule, names) in PROGRAMS {
        let instruction = format!("COPY {rule} /");
        let layer = world.layers.len();
        let write = |directory: &Path| {
            for name in names.split_ascii_whitespace() {
                put_program(directory, &format!("opt/bin/{name}"), static_program());
            }
        };
        world.layer(&instruction, write, |_| {});
        let mut names: Vec<&str> = names.split_ascii_whitespace().collect();
        names.sort_unstable();
        expected.extend(
            names
                .iter()
                .map(|name| (rule, format!("/opt/bin/{name}"), layer, instruction.clone())),
        );
    }
    let found = audited(&world);
    let programs = places(&found)
        .into_iter()
        .filter(|place| PROGRAMS.iter().any(|(rule, _)| *rule == place.0));
    let programs: Vec<_> = programs
        .map(|(rule, path, layer, instruction)| {
            (
                rule,
                path.unwrap().to_owned(),
                layer.unwrap(),
                instruction.unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(programs, expected);
}

/// Rule, path of the finding, and what puts the instance into a layer.
type Seed = (&'static str, &'static str, fn(&Path));

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEA\n";

/// What needs a file. Each goes into a layer of its own.
const FILES: &[Seed] = &[
    ("shell", "/busybox/b", |to| {
        put_program(
            to,
            "busybox/b",
            [&static_program(), &b"BusyBox v1.37.0"[..]].concat(),
        );
        for name in ["sh", "wget", "dpkg", "other"] {
            symlink("/busybox/b", to.join("busybox").join(name)).unwrap();
        }
        fs::hard_link(to.join("busybox/b"), to.join("busybox/vi")).unwrap();
    }),
    ("shell", "/opt/hidden", |to| {
        put_program(
            to,
            "opt/hidden",
            [&static_program(), &b"GNU bash, version %s"[..]].concat(),
        );
    }),
    ("interpreter", "/opt/py/bin/python3.13", |to| {
        put_program(to, "opt/py/bin/python3.13", static_program());
        symlink("python3.13", to.join("opt/py/bin/python")).unwrap();
    }),
    ("package-manager-data", "/var/lib/apt", |to| {
        put(to, "var/lib/apt/lists/x", "x");
    }),
    ("package-manager-data", "/var/cache/apt", |to| {
        put(to, "var/cache/apt/pkgcache.bin", "x");
    }),
    ("package-manager-data", "/etc/apt", |to| {
        put(to, "etc/apt/sources.list", "x");
    }),
    ("package-manager-data", "/usr/lib/apk", |to| {
        put(to, "usr/lib/apk/db/installed", "x");
    }),
    ("package-manager-data", "/var/lib/rpm", |to| {
        put(to, "var/lib/rpm/rpmdb.sqlite", "x");
    }),
    (
        "package-manager-data",
        "/usr/lib/python3.13/ensurepip/_bundled",
        |to| {
            put(to, "usr/lib/python3.13/ensurepip/_bundled/pip-1.whl", "x");
        },
    ),
    ("package-manager-data", "/usr/share/python-wheels", |to| {
        put(to, "usr/share/python-wheels/pip-1.whl", "x");
    }),
    ("setuid", "/opt/as-owner", |to| {
        put_program(to, "opt/as-owner", static_program());
        mode(to, "opt/as-owner", 0o4755);
    }),
    ("setgid", "/opt/as-group", |to| {
        put_program(to, "opt/as-group", static_program());
        mode(to, "opt/as-group", 0o2755);
    }),
    ("world-writable", "/opt/open", |to| {
        fs::create_dir_all(to.join("opt/open")).unwrap();
        put(to, "opt/open/too", "x");
        mode(to, "opt/open", 0o777);
        mode(to, "opt/open/too", 0o666);
    }),
    ("sticky-directory", "/opt/everybody", |to| {
        fs::create_dir_all(to.join("opt/everybody")).unwrap();
        mode(to, "opt/everybody", 0o1777);
    }),
    ("special-file", "/opt/pipe", |to| {
        fs::create_dir_all(to.join("opt")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(to.join("opt/pipe"))
            .status();
        assert!(made.unwrap().success());
    }),
    ("executable-data", "/opt/os-release", |to| {
        put(to, "opt/os-release", "ID=x");
        mode(to, "opt/os-release", 0o555);
    }),
    ("missing-interpreter", "/opt/script", |to| {
        put_program(to, "opt/script", "#!/usr/bin/ruby -w\n");
    }),
    ("secret", "/opt/tls/server.pem", |to| {
        put(to, "opt/tls/server.pem", KEY);
    }),
    ("secret", "/opt/s/.ssh/work", |to| put(to, "opt/s/.ssh/work", "x")),
    ("secret", "/opt/s/id_rsa", |to| put(to, "opt/s/id_rsa", KEY)),
    ("secret", "/opt/s/a.key", |to| put(to, "opt/s/a.key", "x")),
    ("secret", "/opt/s/a.p12", |to| put(to, "opt/s/a.p12", "x")),
    ("secret", "/opt/s/.netrc", |to| put(to, "opt/s/.netrc", "x")),
    ("secret", "/opt/s/.npmrc", |to| put(to, "opt/s/.npmrc", "x")),
    ("secret", "/opt/s/.pypirc", |to| put(to, "opt/s/.pypirc", "x")),
    ("secret", "/opt/s/.docker/config.json", |to| {
        put(to, "opt/s/.docker/config.json", "x");
    }),
    ("secret", "/opt/s/.aws/credentials", |to| {
        put(to, "opt/s/.aws/credentials", "x");
    }),
    ("secret", "/opt/s/.git-credentials", |to| {
        put(to, "opt/s/.git-credentials", "x");
    }),
    ("secret", "/opt/s/kubeconfig", |to| {
        put(to, "opt/s/kubeconfig", "x");
    }),
    ("secret", "/opt/s/.env", |to| put(to, "opt/s/.env", "x")),
    ("secret", "/opt/s/a.kdbx", |to| put(to, "opt/s/a.kdbx", "x")),
    ("secret", "/opt/s/keystore", |to| {
        put(
            to,
            "opt/s/keystore",
            [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1],
        );
    }),
    ("dangling-link", "/opt/nowhere", |to| {
        fs::create_dir_all(to.join("opt")).unwrap();
        symlink("gone", to.join("opt/nowhere")).unwrap();
    }),
    ("dangling-link", "/opt/round", |to| {
        fs::create_dir_all(to.join("opt")).unwrap();
        symlink("round", to.join("opt/round")).unwrap();
    }),
    ("missing-library", "/opt/dynamic", |to| {
        put_program(to, "opt/dynamic", program(&["libc.so.6"]).bytes());
    }),
    ("missing-library", "/opt/lib/libx.so.1", |to| {
        put(
            to,
            "opt/lib/libx.so.1",
            Build {
                needed: vec!["libgone.so.1"],
                ..Build::default()
            }
            .bytes(),
        );
    }),
    ("java-keystore", "/opt/jre/lib/security/cacerts", |to| {
        put(to, "opt/jre/lib/server/libjvm.so", Build::default().bytes());
    }),
    ("package-record", "/var/lib/dpkg/status.d/broken", |to| {
        put(
            to,
            "var/lib/dpkg/status.d/broken",
            "Package: broken\nVersion: 1\n",
        );
        put(to, "usr/share/doc/broken/copyright", "x");
    }),
    ("missing-licence", "/usr/share/doc/free/copyright", |to| {
        put(
            to,
            "var/lib/dpkg/status.d/free",
            "Package: free\nVersion: 1\nArchitecture: all\n",
        );
    }),
    ("leftover", "/var/lib/dpkg/info", |to| {
        put(to, "var/lib/dpkg/info/x.list", "x");
    }),
    ("leftover", "/var/lib/dpkg/status", |to| {
        put(
            to,
            "var/lib/dpkg/status",
            "Package: x\nStatus: a b not-installed\n",
        );
    }),
    ("leftover", "/var/cache", |to| {
        put(to, "var/cache/ldconfig/aux-cache", "x");
    }),
    ("leftover", "/var/log", |to| put(to, "var/log/dpkg.log", "x")),
    ("leftover", "/usr/share/doc", |to| {
        put(to, "usr/share/doc/x/changelog.gz", "x");
    }),
    ("leftover", "/usr/share/man", |to| {
        put(to, "usr/share/man/man1/x.1.gz", "x");
    }),
    ("leftover", "/usr/share/info", |to| {
        put(to, "usr/share/info/x", "x");
    }),
    ("leftover", "/usr/share/lintian", |to| {
        put(to, "usr/share/lintian/x", "x");
    }),
    ("leftover", "/usr/share/bug", |to| put(to, "usr/share/bug/x", "x")),
    ("leftover", "/usr/share/locale", |to| {
        put(to, "usr/share/locale/de/x.mo", "x");
    }),
    ("leftover", "/opt/m/__pycache__", |to| {
        put(to, "opt/m/__pycache__/x.pyc", "x");
    }),
    ("leftover", "/opt/lib/libx.a", |to| put(to, "opt/lib/libx.a", "x")),
    ("leftover", "/opt/include", |to| {
        put(to, "opt/include/sys/x.h", "x");
    }),
];

/// Rules that an instance brings along, for it is what they find, too.
fn comes_along(id: &str) -> bool {
    id == "unowned-elf"
}

#[test]
fn every_kind_of_file_is_found_once() {
    let mut world = world();
    for (rule, path, write) in FILES {
        world.layer(&format!("RUN make {rule} {path}"), write, |_| {});
    }
    let found = audited(&world);
    let mut seen: Vec<_> = places(&found)
        .into_iter()
        .filter(|place| {
            !is_of_the_tests(place.0) && !comes_along(place.0) || place.1 == Some("/opt/everybody")
        })
        .map(|(rule, path, layer, instruction)| (rule, path.unwrap(), layer, instruction.unwrap().to_owned()))
        .collect();
    let mut expected: Vec<_> = FILES
        .iter()
        .enumerate()
        .map(|(at, (rule, path, _))| (*rule, *path, Some(at + 1), format!("RUN make {rule} {path}")))
        .collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    // Of the two a program and a library each, which no package has.
    assert!(found.iter().any(|finding| finding.id == "unowned-elf"));
    let busybox = found
        .iter()
        .find(|finding| finding.message.contains("BusyBox"))
        .unwrap();
    assert_eq!(
        busybox.message,
        "`/busybox/b` is BusyBox, also as `/busybox/sh` and 4 more names"
    );
}

#[test]
fn owners_and_capabilities() {
    if !root() {
        println!("skipped: needs root");
        return;
    }
    let mut world = world();
    let write = |to: &Path| {
        put(to, "opt/app/data/x", "x");
        put_program(to, "opt/ping-like", static_program());
        for path in ["opt/app", "opt/app/data", "opt/app/data/x"] {
            std::os::unix::fs::chown(to.join(path), Some(1000), Some(1000)).unwrap();
        }
        let set = std::process::Command::new("setcap")
            .arg("cap_net_raw+ep")
            .arg(to.join("opt/ping-like"))
            .status();
        assert!(set.is_ok_and(|status| status.success()), "`setcap` is missing");
    };
    world.layer("COPY --chown=1000 app /opt/", write, |_| {});
    let found = audited(&world);
    let text = |id: &str| {
        let mut all = found.iter().filter(|finding| finding.id == id);
        let one = all.next().map(|finding| (finding.message.clone(), finding.layer));
        assert!(all.next().is_none());
        one
    };
    let owner = "`/opt/app` belongs to 1000:1000, and so do 2 files in it";
    assert_eq!(text("owner"), Some((owner.to_owned(), Some(1))));
    let capability = "`/opt/ping-like` has `cap_net_raw`";
    assert_eq!(text("file-capabilities"), Some((capability.to_owned(), Some(1))));
}

/// What is missing: the path that a layer removes, and the rule that tells.
#[test]
fn what_is_removed_is_missed_once() {
    for (path, rule, told) in [
        ("/etc/passwd", "accounts", "/etc/passwd"),
        ("/etc/group", "accounts", "/etc/group"),
        ("/root", "home-directory", "/root"),
        ("/tmp", "tmp-directory", "/tmp"),
        ("/usr/share/zoneinfo", "zone-data", "/usr/share/zoneinfo"),
        (
            "/usr/share/zoneinfo/US/Eastern",
            "zone-data",
            "/usr/share/zoneinfo/US/Eastern",
        ),
        ("/etc/nsswitch.conf", "name-services", "/etc/nsswitch.conf"),
        ("/etc/services", "network-names", "/etc/services"),
        ("/etc/protocols", "network-names", "/etc/protocols"),
        ("/etc/mime.types", "mime-types", "/etc/mime.types"),
        ("/etc/debian_version", "os-release", "/etc/debian_version"),
        ("/lib64", "merged-usr", "/lib64"),
    ] {
        let mut world = world();
        world.layer("RUN rm", |_| {}, |upper| rm(upper, path));
        let found = audited(&world);
        let rest = places(&found)
            .into_iter()
            .filter(|place| place.0 == rule || !is_of_the_tests(place.0));
        assert_eq!(
            rest.collect::<Vec<_>>(),
            [(rule, Some(told), Some(1), Some("RUN rm"))],
            "{path}"
        );
    }
}

/// Files that are there, but wrong.
#[test]
fn what_is_wrong_is_told_once() {
    let seeds: &[Seed] = &[
        ("tmp-directory", "/tmp", |to| {
            fs::create_dir(to.join("tmp")).unwrap();
            mode(to, "tmp", 0o755);
        }),
        ("name-services", "/etc/nsswitch.conf", |to| {
            put(to, "etc/nsswitch.conf", "hosts: dns files\n");
        }),
        ("os-release", "/usr/lib/os-release", |to| {
            put(to, "usr/lib/os-release", "NAME=x\n");
        }),
        ("ca-bundle", "/etc/ssl/certs/ca-certificates.crt", |to| {
            put(
                to,
                "etc/ssl/certs/ca-certificates.crt",
                certificate(1, "400101000000Z"),
            );
        }),
        ("ca-bundle", "/etc/ssl/certs/ca-certificates.crt", |to| {
            let expired = bundle() + &certificate(200, "200101000000Z");
            put(to, "etc/ssl/certs/ca-certificates.crt", expired);
        }),
        ("ca-bundle", "/etc/ssl/certs/ca-certificates.crt", |to| {
            let twice = bundle() + &certificate(1, "400101000000Z");
            put(to, "etc/ssl/certs/ca-certificates.crt", twice);
        }),
        ("merged-usr", "/lib", |to| put(to, "lib/x", "x")),
        ("time", "/opt/later", |to| {
            put(to, "opt/later", "x");
            let file = fs::File::open(to.join("opt/later")).unwrap();
            let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000);
            file.set_modified(later).unwrap();
        }),
    ];
    for (rule, path, write) in seeds {
        let mut world = world();
        world.layer("COPY wrong /", write, |_| {});
        let found = audited(&world);
        let rest: Vec<_> = places(&found)
            .into_iter()
            .filter(|place| place.0 == *rule || !is_of_the_tests(place.0))
            .collect();
        assert_eq!(
            rest,
            [(*rule, Some(*path), Some(1), Some("COPY wrong /"))],
            "{found:#?}"
        );
    }
}

#[test]
fn what_layers_hide_is_not_gone() {
    let mut world = world();
    world.files(
        "COPY . /src",
        &[("src/.env", "TOKEN=x"), ("src/tls.pem", KEY), ("src/plain", "x")],
    );
    world.layer("RUN rm -r /src", |_| {}, |upper| rm(upper, "/src"));
    let found = audited(&world);
    let secrets: Vec<_> = places(&found)
        .into_iter()
        .filter(|place| place.0 == "secret")
        .collect();
    let at = |path| ("secret", Some(path), Some(1), Some("COPY . /src"));
    assert_eq!(secrets, [at("/src/.env"), at("/src/tls.pem")]);
    assert!(
        found
            .iter()
            .any(|finding| finding.message.contains("layer 2 hides it"))
    );
}

/// Parts of the config: the rule, its instruction, and what sets it.
#[test]
fn the_config_is_looked_at() {
    type Part = (&'static str, Option<&'static str>, fn(&mut ImageConfig));
    let parts: &[Part] = &[
        ("user-root", Some("USER root"), |config| {
            config.config.user = "root".into();
        }),
        ("accounts", Some("USER root"), |config| {
            config.config.user = "4711".into();
        }),
        ("accounts", Some("USER root"), |config| {
            config.config.user = "nonroot:crew".into();
        }),
        ("no-entrypoint", None, |config| config.config.entrypoint.clear()),
        ("entrypoint", Some("ENTRYPOINT x"), |config| {
            config.config.entrypoint = vec!["/app/gone".into()];
        }),
        ("entrypoint", Some("ENTRYPOINT x"), |config| {
            config.config.entrypoint = vec!["/etc/group".into()];
        }),
        ("shell-form", Some("CMD y"), |config| {
            config.config.cmd = vec!["/bin/sh".into(), "-c".into(), "y".into()];
        }),
        ("shell-form", Some("HEALTHCHECK z"), |config| {
            let test = vec!["CMD-SHELL".into(), "z".into()];
            config.config.healthcheck = Some(Healthcheck {
                test,
                ..Healthcheck::default()
            });
        }),
        ("secret-in-config", Some("ENV DB_PASSWORD=..."), |config| {
            config.config.env.push("DB_PASSWORD=hunter2".into());
        }),
        ("secret-in-config", Some("ARG API_KEY=..."), |config| {
            let created_by = "ARG API_KEY=hunter2".into();
            config.history.push(History {
                created_by,
                empty_layer: true,
                ..History::default()
            });
        }),
        ("time", None, |config| {
            config.created = Some("2200-01-01T00:00:00Z".into());
        }),
        ("locale", Some("ENV DB_PASSWORD=hunter2"), |config| {
            config.config.env.push("LANG=de_DE.UTF-8".into());
        }),
        ("ca-bundle", Some("ENV DB_PASSWORD=hunter2"), |config| {
            config.config.env.push("SSL_CERT_FILE=/gone".into());
        }),
    ];
    for (rule, instruction, set) in parts {
        let mut world = world();
        let history = [
            "USER root",
            "ENTRYPOINT x",
            "CMD y",
            "HEALTHCHECK z",
            "ENV DB_PASSWORD=hunter2",
        ];
        for created_by in history {
            let created_by = created_by.into();
            world.config.history.push(History {
                created_by,
                empty_layer: true,
                ..History::default()
            });
        }
        set(&mut world.config);
        let found = audited(&world);
        let mine: Vec<_> = found.iter().filter(|finding| finding.id == *rule).collect();
        assert_eq!(mine.len(), 1, "{rule}: {found:#?}");
        assert_eq!(
            mine[0].instruction.as_ref().map(crate::Instruction::as_str),
            *instruction
        );
        assert!(!format!("{mine:?}").contains("hunter2") || *rule != "secret-in-config");
    }
}

/// What the image is for is no finding.
#[test]
fn interpreters_that_the_image_starts() {
    for command in [
        "/usr/bin/python3",
        "/app/main.py",
        "python3",
        "/usr/bin/tini -g -- python3 /app/other perl",
        "gosu nobody python3",
        "env A=b python3",
        "/app/wrapper | python3",
    ] {
        let mut world = world();
        let write = |to: &Path| {
            put_program(to, "usr/bin/python3.13", static_program());
            symlink("python3.13", to.join("usr/bin/python3")).unwrap();
            put_program(to, "app/main.py", "#!/usr/bin/python3\n");
            put_program(to, "usr/bin/perl", static_program());
        };
        world.layer("COPY python /", write, |_| {});
        let (entrypoint, arguments) = command.split_once(" | ").unwrap_or((command, ""));
        let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect();
        (world.config.config.entrypoint, world.config.config.cmd) = (words(entrypoint), words(arguments));
        let found = audited(&world);
        let rest: Vec<_> = places(&found)
            .into_iter()
            .filter(|place| place.0 == "interpreter")
            .collect();
        assert_eq!(
            rest,
            [(
                "interpreter",
                Some("/usr/bin/perl"),
                Some(1),
                Some("COPY python /")
            )],
            "{command}"
        );
    }
}
