//! What the operating system says when it has nothing left.

use std::io;

use rustix::io::Errno;

#[cfg(feature = "net")]
use crate::core::DialError;
use crate::core::Shortage;
#[cfg(feature = "net")]
use crate::network::dial_error;

/// What the system lacks, if it is that.
pub(super) fn shortage(error: &io::Error) -> Option<Shortage> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(Shortage::Descriptors),
        Errno::NFILE => Some(Shortage::SystemDescriptors),
        Errno::NOBUFS | Errno::NOMEM => Some(Shortage::Memory),
        Errno::ADDRNOTAVAIL => Some(Shortage::LocalAddress),
        _ => None,
    }
}

/// An attempt to connect that failed.
#[cfg(feature = "net")]
pub(super) fn connect_error(error: &io::Error) -> DialError {
    if let Some(shortage) = shortage(error) {
        return DialError::System(shortage);
    }
    match Errno::from_io_error(error) {
        // A machine without the family of the address.
        Some(Errno::AFNOSUPPORT | Errno::NETDOWN) => DialError::Unreachable,
        Some(_) | None => dial_error(error),
    }
}

#[cfg(feature = "net")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_lacks_has_a_name() {
        let of = |errno: Errno| connect_error(&io::Error::from_raw_os_error(errno.raw_os_error()));
        assert_eq!(of(Errno::MFILE), DialError::System(Shortage::Descriptors));
        assert_eq!(of(Errno::NFILE), DialError::System(Shortage::SystemDescriptors));
        assert_eq!(of(Errno::NOBUFS), DialError::System(Shortage::Memory));
        assert_eq!(of(Errno::NOMEM), DialError::System(Shortage::Memory));
        assert_eq!(of(Errno::ADDRNOTAVAIL), DialError::System(Shortage::LocalAddress));
        assert_eq!(of(Errno::ACCESS), DialError::Denied);
        assert_eq!(of(Errno::PERM), DialError::Denied);
        assert_eq!(of(Errno::CONNREFUSED), DialError::Refused);
        assert_eq!(of(Errno::NETUNREACH), DialError::Unreachable);
        assert_eq!(of(Errno::HOSTUNREACH), DialError::Unreachable);
        assert_eq!(of(Errno::AFNOSUPPORT), DialError::Unreachable);
        assert_eq!(of(Errno::TIMEDOUT), DialError::TimedOut);
    }
}
