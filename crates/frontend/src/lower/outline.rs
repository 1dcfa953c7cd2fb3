//! Collects what a target can be given, as BuildKit's `frontend.outline` does.

use std::collections::{BTreeMap, BTreeSet};

use distil_dockerfile::{self as dockerfile, ArgPair, MountKind};

use super::stages::{StageId, Step};
use super::{Lowering, Result, mounts};
use crate::{Outline, OutlineArg, OutlineMount};

/// What the steps of one stage say.
#[derive(Default)]
pub(super) struct Noted {
    /// ARGs with a default or a value of their own.
    args: BTreeMap<String, OutlineArg>,
    /// Names of all ARGs.
    used: BTreeSet<String>,
    secrets: BTreeMap<String, OutlineMount>,
    ssh: BTreeMap<String, OutlineMount>,
}

/// A global ARG, and the names in its default.
struct Global {
    arg: OutlineArg,
    needs: BTreeSet<String>,
}

impl Lowering<'_> {
    /// Notes an ARG of a stage. One that only takes over a global one is described there.
    pub(super) fn note_arg(&mut self, id: StageId, step: &Step<'_>, arg: &ArgPair, value: Option<&str>) {
        let name = &arg.key.value;
        let inherited = arg.value.is_none()
            && !self.build_args.contains_key(name)
            && self.global_args.get(name).is_some();
        let noted = &mut self.stages[id.0].noted;
        noted.used.insert(name.clone());
        if !inherited {
            let arg = OutlineArg {
                name: name.clone(),
                value: value.map(str::to_owned),
                description: arg.doc.clone(),
                span: step.span,
            };
            noted.args.insert(name.clone(), arg);
        }
    }

    /// Notes the secrets and agents that a RUN mounts.
    pub(super) fn note_mounts(&mut self, id: StageId, step: &Step<'_>, mounts: &[dockerfile::Mount]) {
        let noted = &mut self.stages[id.0].noted;
        for mount in mounts {
            let (list, id) = match mount.kind {
                MountKind::Secret => (&mut noted.secrets, mounts::secret_id(mount)),
                MountKind::Ssh if mount.id.is_empty() => (&mut noted.ssh, "default".to_owned()),
                MountKind::Ssh => (&mut noted.ssh, mount.id.clone()),
                MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => continue,
            };
            list.entry(id.clone()).or_insert(OutlineMount {
                id,
                required: mount.required,
                span: step.span,
            });
        }
    }

    /// Everything that the target and what it needs can be given.
    pub(super) fn outline(&self, target: StageId) -> Result<Outline> {
        let globals = self.globals()?;
        let origin = self.stages[target.0].origin;
        let mut outline = Outline {
            name: origin
                .and_then(|stage| stage.name.as_ref())
                .map(|name| name.value.clone()),
            description: origin.and_then(|stage| stage.doc.clone()),
            ..Outline::default()
        };
        let (mut args, mut secrets, mut ssh) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        // The target first, for its own ARG of a name describes it best.
        for id in std::iter::once(target).chain(self.reachable(target)) {
            let stage = &self.stages[id.0];
            for name in self.used_names(id, &globals)? {
                let own = stage.noted.args.get(&name);
                if let Some(arg) = own.or_else(|| globals.get(&name).map(|global| &global.arg)) {
                    args.entry(name).or_insert_with(|| arg.clone());
                }
            }
            for (found, all) in [(&stage.noted.secrets, &mut secrets), (&stage.noted.ssh, &mut ssh)] {
                for (id, mount) in found {
                    all.entry(id.clone()).or_insert_with(|| mount.clone());
                }
            }
        }
        outline.args = args.into_values().collect();
        outline.secrets = secrets.into_values().collect();
        outline.ssh = ssh.into_values().collect();
        outline.args.sort_by_key(|arg| arg.span.first_line);
        outline.secrets.sort_by_key(|mount| mount.span.first_line);
        outline.ssh.sort_by_key(|mount| mount.span.first_line);
        Ok(outline)
    }

    /// The global arguments with their values, later ones of a name in place of earlier ones.
    fn globals(&self) -> Result<BTreeMap<String, Global>> {
        let mut known = self.predefined_args();
        let mut globals: BTreeMap<String, Global> = BTreeMap::new();
        for instruction in &self.dockerfile.meta_args {
            for arg in &instruction.args {
                let name = &arg.key.value;
                let mut needs = BTreeSet::new();
                let value = match (self.build_args.get(name), &arg.value) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => {
                        let expansion = self.expansion(&known, default)?;
                        needs = expansion.used;
                        Some(expansion.text)
                    }
                    (None, None) => None,
                };
                if let Some(value) = &value {
                    known.set(name, value);
                }
                // `ARG A=$A-x` needs what the earlier A needed.
                if needs.remove(name)
                    && let Some(earlier) = globals.get(name)
                {
                    needs.extend(earlier.needs.iter().cloned());
                }
                let arg = OutlineArg {
                    name: name.clone(),
                    value,
                    description: arg.doc.clone(),
                    span: instruction.statement.span,
                };
                globals.insert(name.clone(), Global { arg, needs });
            }
        }
        Ok(globals)
    }

    /// Names that the FROM and the ARGs of a stage use, with those that their defaults use.
    fn used_names(&self, id: StageId, globals: &BTreeMap<String, Global>) -> Result<BTreeSet<String>> {
        let stage = &self.stages[id.0];
        let mut open: Vec<String> = stage.noted.used.iter().cloned().collect();
        if let Some(origin) = stage.origin {
            for word in std::iter::once(&origin.base).chain(&origin.platform) {
                open.extend(self.expansion(&self.global_args, word)?.used);
            }
        }
        let mut used = BTreeSet::new();
        while let Some(name) = open.pop() {
            let own = stage.noted.args.contains_key(&name);
            if let Some(global) = globals.get(&name).filter(|_| !own && !used.contains(&name)) {
                open.extend(global.needs.iter().cloned());
            }
            used.insert(name);
        }
        Ok(used)
    }
}
