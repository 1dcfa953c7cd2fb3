//! The process that turns unpacked packages into configured ones.

use crate::plan::Plan;

/// A process to run with the unpacked tree as its root directory, as root in it,
/// without network, with `/proc`, `/dev` and an empty standard input. It must
/// end with 0; what it writes is for the user when it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigureStep {
    /// Program and arguments.
    pub args: Vec<String>,
    /// The whole environment, `NAME=VALUE`.
    pub env: Vec<String>,
}

/// `preinst` scripts run first, since dpkg runs them before it unpacks and not
/// again; then dpkg orders and runs the rest. The database is written without
/// waiting for the disk: a tree that was not finished is thrown away.
const SCRIPT: &str = r#"set -e
umask 022
dpkg=/var/lib/dpkg
# mawk's alternative is made by its postinst, but earlier scripts already call awk.
[ -e /usr/bin/awk ] || [ ! -e /usr/bin/mawk ] || { ln -s mawk /usr/bin/awk; awk=1; }
for package in $PREINST; do
  DPKG_MAINTSCRIPT_PACKAGE=${package%:*} DPKG_MAINTSCRIPT_NAME=preinst \
    DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 "$dpkg/info/$package.preinst" install
done
[ -z "$awk" ] || rm /usr/bin/awk
exec dpkg --force-unsafe-io --force-confold --configure --pending
"#;

impl ConfigureStep {
    /// The step for `plan`; `preinst` is what [`crate::unpack`] returned.
    #[must_use]
    pub fn new(plan: &Plan, preinst: &[String]) -> ConfigureStep {
        ConfigureStep {
            args: ["/bin/sh", "-c", SCRIPT].map(str::to_owned).to_vec(),
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
                "HOME=/root".to_owned(),
                "LC_ALL=C.UTF-8".to_owned(),
                "DEBIAN_FRONTEND=noninteractive".to_owned(),
                "DEBCONF_NONINTERACTIVE_SEEN=true".to_owned(),
                "DPKG_ROOT=".to_owned(),
                format!("DPKG_MAINTSCRIPT_ARCH={}", plan.architecture),
                format!("SOURCE_DATE_EPOCH={}", plan.epoch),
                format!("PREINST={}", preinst.join(" ")),
            ],
        }
    }
}
