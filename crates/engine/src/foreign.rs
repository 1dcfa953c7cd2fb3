//! Whether programs of another architecture run here.

use std::path::Path;

use distil_sandbox::binfmt::{ElfArchitecture, Execution, REGISTRY, can_execute};

/// Whether this machine runs programs for the platform's `architecture`, by itself or through an emulator
/// that the kernel holds open. An architecture that is not known is tried.
pub(crate) fn runs(architecture: &str) -> bool {
    match ElfArchitecture::of_platform(architecture) {
        Some(elf) => match can_execute(elf, Path::new(REGISTRY)) {
            Execution::Native => true,
            Execution::Emulated { fixed, .. } => fixed,
            Execution::Impossible => false,
        },
        None => true,
    }
}
