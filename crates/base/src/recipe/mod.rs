//! Recipes of distroless images.

mod spec;

pub use spec::{
    Accounts, Derived, Exclude, ExtraSource, GroupAccount, ImageSpec, InputMember, Layout, Note, Owner,
    Resolve, RunSettings, SpecDirectory, SpecFile, SpecSymlink, UpstreamInput, UserAccount, Variant,
};
