//! What a static program with many open files settles when it starts.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit as ProcessLimit, getrlimit, setrlimit};

use crate::spec::{ProcessSpec, Rlimit};

/// The limit of open files that this process was started with, where it was changed.
static ORIGINAL: OnceLock<ProcessLimit> = OnceLock::new();

/// Lets this process open as many files as the system allows it. Programs that [`crate::Sandbox`] starts get
/// the limit from before: some walk over every descriptor that they might have.
pub fn raise_descriptor_limit() {
    let original = getrlimit(Resource::Nofile);
    let raised = ProcessLimit {
        current: original.maximum,
        ..original
    };
    if original.current != original.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        // A second call finds nothing to raise.
        let _ = ORIGINAL.set(original);
    }
}

/// Has the allocator ask the kernel for more memory at a time, and keep what is freed, up to some MB: a command
/// that ends within milliseconds spends a good part of them on pages that come and go.
#[cfg(target_env = "gnu")]
pub fn keep_freed_memory() {
    let parameters = [
        (libc::M_TOP_PAD, 512 << 10),
        (libc::M_TRIM_THRESHOLD, 8 << 20),
        (libc::M_MMAP_THRESHOLD, 1 << 20),
    ];
    for (parameter, value) in parameters {
        // SAFETY: it takes two numbers and changes nothing but the allocator's parameters.
        // One that is not known changes nothing at all.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Other allocators are left as they are.
#[cfg(not(target_env = "gnu"))]
pub fn keep_freed_memory() {}

/// Takes those variables that are set to nothing out of the environment where `counts` says so: they count as not set.
///
/// # Safety
/// No other thread may run yet.
pub unsafe fn forget_empty_variables(counts: impl Fn(&OsStr) -> bool) {
    let empty = std::env::vars_os().filter(|(name, value)| value.is_empty() && counts(name));
    for (name, _) in empty.collect::<Vec<_>>() {
        // SAFETY: the caller's promise.
        unsafe { std::env::remove_var(name) };
    }
}

/// Takes [`raise_descriptor_limit`] back before this program is executed again.
pub(crate) fn restore_descriptor_limit() {
    if let Some(original) = ORIGINAL.get() {
        // The hard limit is the same as before, so lowering the soft one cannot fail.
        let _ = setrlimit(Resource::Nofile, *original);
    }
}

/// The process with the limit of open files from before [`raise_descriptor_limit`], unless it names its own.
pub(crate) fn with_original_limit(spec: &ProcessSpec) -> Cow<'_, ProcessSpec> {
    let resource = libc::RLIMIT_NOFILE;
    let named = spec.rlimits.iter().any(|limit| limit.resource == resource);
    match ORIGINAL.get().filter(|_| !named) {
        None => Cow::Borrowed(spec),
        Some(original) => {
            let mut spec = spec.clone();
            spec.rlimits.push(Rlimit {
                resource,
                soft: original.current.unwrap_or(u64::MAX),
                hard: original.maximum.unwrap_or(u64::MAX),
            });
            Cow::Owned(spec)
        }
    }
}

/// Restricts host name lookup to `/etc/hosts` and DNS. To be called before the first lookup.
///
/// A static program with GNU's C library would otherwise load the modules that `/etc/nsswitch.conf` names
/// from the running system, whose library can be another version, and crash.
pub fn use_static_name_lookup() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn __nss_configure_lookup(
                database: *const libc::c_char,
                services: *const libc::c_char,
            ) -> libc::c_int;
        }
        // SAFETY: the signature is that of <nss.h>; both arguments are NUL-terminated literals, and no lookup
        // runs at the same time.
        let result = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
        debug_assert_eq!(result, 0, "both services are known to the C library");
    }
}
