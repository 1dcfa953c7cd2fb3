//! Project folders: what kind of project it is.

use std::path::Path;

use super::{AdviseError, Found, java, native, node, python};

type Look = fn(&Path) -> Result<Option<Found>, AdviseError>;

/// In the order in which they decide: a Go service with a `package.json` for its pages is one of Go.
const KINDS: [Look; 7] = [
    native::go,
    native::rust,
    java::project,
    python::project,
    node::project,
    native::go_without_module,
    native::c,
];

/// Looks into a project folder.
pub(super) fn examine(folder: &Path) -> Result<Found, AdviseError> {
    for look in KINDS {
        if let Some(found) = look(folder)? {
            return Ok(found);
        }
    }
    Err(AdviseError::Unknown {
        path: folder.to_owned(),
        reason: "nothing in it says what it needs".to_owned(),
    })
}
