//! What files themselves say that they may load ([`crate::DlopenNote`]).

use std::path::Path;

use super::ClosureError;
use super::collect::{Collector, Need, Task};
use super::program::Loaded;
use crate::notes::Priority;

impl Collector<'_, '_> {
    /// Brings what is required; the rest is told.
    pub(super) fn bring_dlopen(&mut self, task: &Task, loaded: &Loaded) -> Result<(), ClosureError> {
        for (path, elf) in &loaded.objects {
            for note in &elf.dlopen {
                if note.priority == Priority::Required {
                    self.bring_required(task, loaded, path, &note.sonames)?;
                    continue;
                }
                let feature = match note.feature.as_str() {
                    "" => String::new(),
                    feature => format!(" for `{feature}`"),
                };
                let text = format!(
                    "`{}` may load `{}`{feature} ({}); name it as a source when that is used",
                    path.display(),
                    note.sonames.join("` or `"),
                    note.priority.name()
                );
                self.out.notes.insert(text);
            }
        }
        Ok(())
    }

    fn bring_required(
        &mut self,
        task: &Task,
        loaded: &Loaded,
        by: &Path,
        sonames: &[String],
    ) -> Result<(), ClosureError> {
        for name in sonames {
            if self.bring_plugin(task, loaded, name, Need::Strict)? {
                return Ok(());
            }
        }
        self.lacks(task.need, sonames.join("` or `").as_ref(), by);
        Ok(())
    }
}
