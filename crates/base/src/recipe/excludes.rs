//! Named sets of paths that an image can do without.

use super::spec::Exclude;

/// A named set; patterns as in [`Exclude`].
pub(crate) struct ExcludeSet {
    pub(crate) name: &'static str,
    patterns: &'static [&'static str],
    except: &'static [&'static str],
}

/// All sets. A pattern reaches into documentation directories and not the
/// directories themselves, for one may be a link to that of another package, by
/// which its copyright file is found.
pub(crate) const SETS: [ExcludeSet; 10] = [
    ExcludeSet {
        name: "doc",
        patterns: &[
            "/usr/share/doc/*/*",
            "/usr/share/doc-base/*",
            "/usr/share/info/*",
            "/usr/share/groff/*",
        ],
        except: &["/usr/share/doc/*/copyright"],
    },
    // What only installation scripts, bug reporting and checkers of packages read.
    ExcludeSet {
        name: "packaging",
        patterns: &[
            "/etc/update-motd.d/*",
            "/usr/share/base-files/*",
            "/usr/share/bug/*",
            "/usr/share/linda/*",
            "/usr/share/lintian/*",
        ],
        except: &[],
    },
    ExcludeSet {
        name: "man",
        patterns: &["/usr/share/man/*"],
        except: &[],
    },
    ExcludeSet {
        name: "locale",
        patterns: &["/usr/share/locale/*"],
        except: &["/usr/share/locale/locale.alias"],
    },
    ExcludeSet {
        name: "gconv",
        patterns: &["/usr/lib/*/gconv/*", "/lib/*/gconv/*"],
        except: &[],
    },
    ExcludeSet {
        name: "zoneinfo-right",
        patterns: &["/usr/share/zoneinfo/right/*"],
        except: &[],
    },
    // Helpers of the debugger gdb, and libraries that only memusage and xtrace of libc's developer tools load.
    ExcludeSet {
        name: "gdb",
        patterns: &[
            "/usr/share/gcc/*",
            "/usr/share/gdb/*",
            "/lib/*/libthread_db.so.1",
            "/usr/lib/*/libthread_db.so.1",
            "/lib/*/libmemusage.so",
            "/usr/lib/*/libmemusage.so",
            "/lib/*/libpcprofile.so",
            "/usr/lib/*/libpcprofile.so",
        ],
        except: &[],
    },
    // Compiled modules that only Python's own tests import.
    ExcludeSet {
        name: "python-test-modules",
        patterns: &[
            "/usr/lib/python3*/lib-dynload/_test*",
            "/usr/lib/python3*/lib-dynload/_ctypes_test*",
            "/usr/lib/python3*/lib-dynload/_xxtestfuzz*",
            "/usr/lib/python3*/lib-dynload/xx*",
        ],
        except: &[],
    },
    // What is left of Python's tests, and the texts of `help()` on keywords.
    ExcludeSet {
        name: "python-tests",
        patterns: &[
            "/usr/lib/python3*/test/*",
            "/usr/lib/python3*/*/test/*",
            "/usr/lib/python3*/*/tests/*",
            "/usr/lib/python3*/pydoc_data/topics.py",
        ],
        except: &[],
    },
    // Signatures of old Java releases, for `javac --release`.
    ExcludeSet {
        name: "ct-sym",
        patterns: &["/usr/lib/jvm/*/lib/ct.sym"],
        except: &[],
    },
];

/// The set of that name, or `word` itself as a pattern.
pub(crate) fn exclude(word: &str) -> Exclude {
    let texts = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
    match SETS.iter().find(|set| set.name == word) {
        Some(set) => Exclude {
            name: word.to_owned(),
            patterns: texts(set.patterns),
            except: texts(set.except),
        },
        None => Exclude {
            name: word.to_owned(),
            patterns: vec![word.to_owned()],
            except: Vec::new(),
        },
    }
}
