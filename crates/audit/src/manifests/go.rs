//! Modules of Go programs, from what the linker notes in them.

use distil_elf::{ElfError, GoBuildInfo};

use super::{Candidate, Draft, Drafts};
use crate::{Ecosystem, ImageView, OwnedFile};

/// The standard library, as scanners and advisories call it.
const LIBRARY: &str = "stdlib";

/// The modules of a program: itself, what it was built with, and the standard library.
pub(super) fn read(view: &ImageView, candidate: &Candidate<'_>) -> Drafts {
    let file = view.open_file(candidate.entry)?;
    let info = match GoBuildInfo::read(&file) {
        Ok(info) => info,
        Err(ElfError::Io(source)) => return Err(candidate.failed(source)),
        // Whether a damaged program is one of Go's, no one can tell.
        Err(_) => None,
    };
    let mut drafts = info.map(|info| modules(&info)).unwrap_or_default();
    // The main module stands first, where there are modules at all.
    if let Some(main) = drafts
        .first_mut()
        .filter(|draft| draft.go_sum.is_none() && draft.name != LIBRARY)
    {
        main.files.push(OwnedFile {
            path: candidate.entry.path.clone(),
            md5: None,
        });
    }
    Ok(drafts)
}

fn modules(info: &GoBuildInfo) -> Vec<Draft> {
    let mut found: Vec<Module<'_>> = Vec::new();
    for line in info.modules.lines() {
        let mut columns = line.split('\t');
        let kind = columns.next();
        let module = Module {
            path: columns.next().unwrap_or_default(),
            version: columns.next().unwrap_or_default(),
            sum: columns.next().unwrap_or_default(),
        };
        match kind {
            Some("mod" | "dep") if !module.path.is_empty() => found.push(module),
            // The module above is this one in truth, unless this is a folder that nobody else knows.
            Some("=>") if !module.path.starts_with(['.', '/']) && !module.path.is_empty() => {
                if let Some(last) = found.last_mut() {
                    *last = module;
                }
            }
            _ => {}
        }
    }
    let mut drafts: Vec<Draft> = found.iter().map(Module::draft).collect();
    let toolchain = info
        .version
        .split_ascii_whitespace()
        .find(|word| word.starts_with("go"));
    let toolchain = toolchain.unwrap_or(&info.version);
    let mut library = Draft::new(Ecosystem::Golang, LIBRARY, toolchain);
    library.licence = Some("BSD-3-Clause".to_owned());
    drafts.push(library);
    drafts
}

struct Module<'t> {
    path: &'t str,
    version: &'t str,
    /// `h1:` and the base64 of a SHA-256.
    sum: &'t str,
}

impl Module<'_> {
    fn draft(&self) -> Draft {
        let mut draft = Draft::new(Ecosystem::Golang, self.path, self.version);
        draft.go_sum = Some(self.sum.to_owned()).filter(|sum| sum.starts_with("h1:"));
        draft
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_a_program() {
        let info = GoBuildInfo {
            version: "go1.22.3 X:boringcrypto".to_owned(),
            modules: "path\texample.com/app/cmd\nmod\texample.com/app\t(devel)\t\n\
                dep\tgolang.org/x/sys\tv0.20.0\th1:Od9JTbYCk261bKm4M/mw7AklTlFYIa0bIp9BgSm1S8Y=\n\
                dep\texample.com/old\tv1.0.0\n=>\texample.com/new\tv1.0.1\th1:x\n\
                dep\texample.com/local\tv1.2.0\n=>\t../local\t\t\nbuild\t-compiler=gc\n\
                =>\nnonsense\n"
                .to_owned(),
        };
        let found: Vec<(String, String, bool)> = modules(&info)
            .into_iter()
            .map(|draft| (draft.name, draft.version, draft.go_sum.is_some()))
            .collect();
        let text = |name: &str, version: &str, sum| (name.to_owned(), version.to_owned(), sum);
        assert_eq!(
            found,
            [
                text("example.com/app", "(devel)", false),
                text("golang.org/x/sys", "v0.20.0", true),
                text("example.com/new", "v1.0.1", true),
                text("example.com/local", "v1.2.0", false),
                text("stdlib", "go1.22.3", false),
            ]
        );
    }
}
