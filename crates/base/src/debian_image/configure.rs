//! The process that turns unpacked packages into configured ones.

use crate::debian_image::plan::Plan;

/// A process to run with the unpacked tree as its root directory, as root in it,
/// without network, with `/proc`, `/dev` (`/dev/shm` a tmpfs) and an empty
/// standard input. It must end with 0; what it writes is for the user when it
/// does not.
///
/// Nothing that it writes need be on disk before the whole tree is finished, and
/// waiting for the disk is most of its time: it is best run where fsync costs
/// nothing, for instance on an overlay mounted `volatile` whose upper directory
/// is the tree and whose lower one is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigureStep {
    /// Program and arguments.
    pub args: Vec<String>,
    /// The whole environment, `NAME=VALUE`.
    pub env: Vec<String>,
}

/// `preinst` scripts run first, since dpkg runs them before it unpacks and not
/// again; then dpkg orders and runs the rest. dpkg syncs a file in `updates`
/// after every change of state, so that directory is put in memory.
///
/// Two programs are shadowed meanwhile: `ischroot` says yes, for no init runs
/// here that libc6 would have to restart (and wait a second for), and
/// `dpkg-maintscript-helper` does nothing, as it would where no older version of
/// any package was.
const SCRIPT: &str = r#"set -e
umask 022
dpkg=/var/lib/dpkg
# mawk's alternative is made by its postinst, but earlier scripts already call awk.
awk=
if [ ! -e /usr/bin/awk ] && [ -e /usr/bin/mawk ]; then
  ln -s mawk /usr/bin/awk
  awk=1
fi
shadows=$dpkg/shadows
mkdir $shadows
for program in ischroot dpkg-maintscript-helper; do
  printf '#!/bin/sh\nexit 0\n' > $shadows/$program
  chmod 755 $shadows/$program
done
PATH=$shadows:$PATH
for package in $PREINST; do
  DPKG_MAINTSCRIPT_PACKAGE=${package%:*} DPKG_MAINTSCRIPT_NAME=preinst \
    DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 "$dpkg/info/$package.preinst" install
done
[ -z "$awk" ] || rm /usr/bin/awk
if mkdir /dev/shm/dpkg-updates 2>/dev/null; then
  rmdir $dpkg/updates
  ln -s /dev/shm/dpkg-updates $dpkg/updates
fi
dpkg --force-unsafe-io --force-confold --configure --pending
rm -r $shadows
if [ -L $dpkg/updates ]; then
  rm $dpkg/updates
  mkdir $dpkg/updates
  rm -rf /dev/shm/dpkg-updates
fi
"#;

impl ConfigureStep {
    /// The step for `plan`; `preinst` is what [`crate::debian_image::unpack`] returned.
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
