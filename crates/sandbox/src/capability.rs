//! Docker's default capabilities.

use std::io;

use crate::sys;

/// The capabilities of Docker's default, as numbers of `linux/capability.h`: CHOWN, DAC_OVERRIDE,
/// FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD,
/// AUDIT_WRITE and SETFCAP.
pub(crate) const DOCKER_DEFAULT: u64 = bits(&[0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]);

const fn bits(numbers: &[u32]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < numbers.len() {
        bits |= 1 << numbers[index];
        index += 1;
    }
    bits
}

/// Takes all but `keep` from the bounding set, and clears the ambient set.
pub(crate) fn limit_bounding_set(keep: u64) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..64_u64 {
        if keep & (1 << number) != 0 {
            continue;
        }
        // SAFETY: a plain system call on numbers.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
        match sys::check(result.into()) {
            // The kernel knows no capability of this or a higher number.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Sets permitted and effective to `keep` for root (others have none left), inheritable to none.
pub(crate) fn limit_sets(keep: u64, is_root: bool) -> io::Result<()> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let keep = if is_root { keep } else { 0 };
    let half = |shift: u32| {
        // The low 32 bits of the shifted set.
        let bits = (keep >> shift) as u32;
        Sets {
            effective: bits,
            permitted: bits,
            inheritable: 0,
        }
    };
    let sets = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two sets, which live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    sys::check(result)
}

#[cfg(test)]
mod tests {
    #[test]
    fn default_set_is_dockers() {
        assert_eq!(super::DOCKER_DEFAULT, 0xa804_25fb);
    }
}
