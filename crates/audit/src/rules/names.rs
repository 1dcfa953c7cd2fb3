//! Names of programs that an image which runs one program has no use for.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::catalog::{COMPILER, INTERPRETER, NETWORK_TOOL, PACKAGE_MANAGER, Rule, SHELL, SYSTEM_TOOL};

const SHELLS: &str = "sh bash dash ash hush zsh ksh ksh93 mksh lksh yash csh tcsh fish rbash rzsh elvish nu xonsh \
    busybox toybox";

/// Besides those that begin with `dpkg`.
const PACKAGE_MANAGERS: &str = "apt apt-get apt-cache apt-key apt-mark apt-config aptitude apk rpm rpmdb yum dnf dnf5 \
    microdnf tdnf zypper pacman emerge xbps-install opkg nix-env pip pip3 pipx pipenv poetry uv uvx conda mamba \
    micromamba easy_install npm npx yarn yarnpkg pnpm pnpx corepack bun gem bundle bundler cargo rustup composer brew \
    snap flatpak cpan cpanm luarocks";

const SYSTEM_TOOLS: &str = "ls dir vdir cat cp mv rm rmdir ln chmod chown chgrp mkdir mkfifo mknod touch truncate dd \
    find xargs grep egrep fgrep sed awk mawk gawk nawk tar cpio gzip gunzip zcat bzip2 bunzip2 xz unxz lzma zstd unzip \
    zip ar base64 base32 od xxd hexdump env id whoami who w users groups ps kill pkill pgrep killall top htop free \
    uptime mount umount losetup su sudo sudoedit doas login passwd chpasswd useradd userdel usermod adduser deluser \
    groupadd addgroup chroot nsenter unshare setpriv runuser start-stop-daemon strace ltrace gdb gdbserver lsof head \
    tail cut sort uniq tee wc tr printf echo date df du stat install mktemp readlink realpath nohup timeout nice \
    renice vi vim nano ed less more getfacl setfacl capsh getcap setcap ldconfig ldd pldd getent getconf iconv \
    iconvconfig locale localedef tzselect zdump zic coreutils systemctl journalctl init systemd openrc crontab \
    cron debconf update-alternatives script expect tmux screen";

const NETWORK_TOOLS: &str = "curl wget aria2c nc nc.openbsd nc.traditional ncat netcat socat telnet ssh sshd \
    ssh-keygen ssh-agent scp sftp ftp tftp rsync nmap dig nslookup host ping ping6 arping traceroute tracepath ip \
    ifconfig route ss netstat tcpdump openssl iptables ip6tables nft arp brctl telnetd ftpd udhcpc dhclient \
    links lynx w3m git svn hg";

const INTERPRETERS: &str = "python perl ruby irb node nodejs deno java jshell jrunscript keytool jpackage rmiregistry \
    jexec jspawnhelper lua luajit php tclsh wish guile erl elixir Rscript R julia ocaml ghci mono dotnet pwsh m4 bc dc";

const COMPILERS: &str = "cc c++ c89 c99 gcc g++ cpp clang clang++ tcc ld ld.bfd ld.gold ld.lld gold lld as make gmake \
    ninja cmake meson autoconf automake libtool go gofmt rustc javac ghc ocamlc nasm yasm objdump objcopy nm ranlib \
    strip readelf gfortran gccgo gdc dmd zig swiftc mvn gradle";

/// Rules by falling weight: a program of several names is reported by the first that fits.
const TABLES: [(&Rule, &str); 6] = [
    (SHELL, SHELLS),
    (PACKAGE_MANAGER, PACKAGE_MANAGERS),
    (NETWORK_TOOL, NETWORK_TOOLS),
    (INTERPRETER, INTERPRETERS),
    (COMPILER, COMPILERS),
    (SYSTEM_TOOL, SYSTEM_TOOLS),
];

static PLACES: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
    let tables = TABLES.iter().enumerate();
    tables
        .flat_map(|(place, (_, names))| names.split_ascii_whitespace().map(move |name| (name, place)))
        .collect()
});

/// Names that are clear wherever a program has them; the others count in directories for programs alone.
pub(super) fn is_clear(rule: &Rule) -> bool {
    [SHELL, PACKAGE_MANAGER].contains(&rule)
}

/// The place of the rule that a name falls under, in order of weight: 0 the heaviest. See [`rule_at`].
pub(super) fn place(name: &str) -> Option<usize> {
    let listed = |name: &str| PLACES.get(name).copied();
    listed(name)
        .or_else(|| name.starts_with("dpkg").then_some(1))
        .or_else(|| {
            // `python3.11`, `gcc-12`, `x86_64-linux-gnu-gcc-12`, `perl5.36.0`, `pip3.13`.
            let bare = without_triplet(without_version(name));
            let place = (bare != name).then(|| listed(bare)).flatten();
            place.filter(|place| [PACKAGE_MANAGER, INTERPRETER, COMPILER].contains(&TABLES[*place].0))
        })
}

/// The rule at a [`place`].
pub(super) fn rule_at(place: usize) -> &'static Rule {
    // `place` gives positions of this table alone.
    TABLES.get(place).map_or(SYSTEM_TOOL, |(rule, _)| rule)
}

fn without_version(name: &str) -> &str {
    name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.')
        .trim_end_matches('-')
}

/// Without `x86_64-linux-gnu-` in front.
fn without_triplet(name: &str) -> &str {
    ["-linux-gnu-", "-linux-gnueabihf-", "-linux-musl-"]
        .iter()
        .find_map(|system| name.split_once(system))
        .map_or(name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_versions() {
        for (name, id) in [
            ("bash", Some("shell")),
            ("dpkg-deb", Some("package-manager")),
            ("pip3.13", Some("package-manager")),
            ("python3.11", Some("interpreter")),
            ("perl5.36.0", Some("interpreter")),
            ("x86_64-linux-gnu-gcc-12", Some("compiler")),
            ("g++-14", Some("compiler")),
            ("base64", Some("system-tool")),
            ("nc.openbsd", Some("network-tool")),
            ("cat2", None),
            ("ssh3", None),
            ("app", None),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(place(name).map(|place| rule_at(place).id), id, "{name}");
        }
    }
}
