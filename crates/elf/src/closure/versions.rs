//! Versions of symbols: whether each library has those that its users need.

use super::MissingVersion;
use super::collect::{Collector, Need, Task};
use super::program::Loaded;

impl Collector<'_, '_> {
    /// Compares as glibc does when it loads: a library without any version table is trusted. musl ignores versions.
    pub(super) fn check_versions(&mut self, task: &Task, loaded: &Loaded) {
        if matches!(loaded.loader, crate::Loader::Musl { .. }) {
            return;
        }
        for (path, elf) in &loaded.objects {
            let needs = elf.dynamic.iter().flat_map(|dynamic| &dynamic.versions_needed);
            for need in needs {
                let Some((library, facts)) = loaded.object(&need.library) else {
                    continue;
                };
                let defined = facts
                    .dynamic
                    .as_ref()
                    .map_or(&[][..], |dynamic| &dynamic.versions_defined);
                if defined.is_empty() {
                    continue;
                }
                for version in need.versions.iter().filter(|version| !defined.contains(version)) {
                    let missing = MissingVersion {
                        version: version.clone(),
                        library: library.clone(),
                        needed_by: path.clone(),
                    };
                    if task.need == Need::Strict {
                        self.missing_versions.insert(missing);
                    } else {
                        self.out.notes.insert(missing.to_string());
                    }
                }
            }
        }
    }
}
