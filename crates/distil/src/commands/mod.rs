//! One module a command: its arguments and one function.

pub(crate) mod audit;
pub(crate) mod base;
pub(crate) mod build;
pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod cve;
pub(crate) mod debug;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod du;
pub(crate) mod dump_llb;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod reset;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod sbom;
pub(crate) mod tag;
pub(crate) mod version;
pub(crate) mod which;
