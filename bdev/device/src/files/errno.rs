//! What the kernel's error numbers mean for a request: try again, or which status.
//!
//! One table. Its rows follow the kernel's own (`blk_errors` in block/blk-core.c) for what block
//! devices answer, and the manual pages of pread, pwrite, fdatasync and fallocate for what file
//! systems add. A number that no row names is a media error: the request was not done, and
//! nothing says that the request itself was at fault.
//!
//! Not here: whether a device that answers `EIO` has been pulled out (`backing.rs`).

use rustix::io::Errno;

use crate::io::IoStatus;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A passing shortage: the same request may succeed a little later.
    Retry,
    /// The request is over.
    Fail(IoStatus),
}

/// Reads the table.
pub(crate) fn judge(errno: Errno) -> Verdict {
    use IoStatus as S;
    match errno {
        // Signals, and resources that come back: requests, tags, pages.
        Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::NOMEM | Errno::NOBUFS => Verdict::Retry,

        // The medium: BLK_STS_IOERR, _MEDIUM, _PROTECTION, _TARGET, _RESV_CONFLICT, and what file
        // systems say about their own damage (EUCLEAN, EBADMSG).
        Errno::IO
        | Errno::NODATA
        | Errno::ILSEQ
        | Errno::REMOTEIO
        | Errno::BADE
        | Errno::UCLEAN
        | Errno::BADMSG => Verdict::Fail(S::MediaError),

        // BLK_STS_INVAL, and requests that can never be right for this file.
        Errno::INVAL
        | Errno::FAULT
        | Errno::BADF
        | Errno::OVERFLOW
        | Errno::SPIPE
        | Errno::ISDIR
        | Errno::DOM
        | Errno::RANGE
        | Errno::TOOBIG => Verdict::Fail(S::InvalidRequest),

        // BLK_STS_NOSPC, quotas, and the largest size a file system allows.
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Verdict::Fail(S::NoSpace),

        // BLK_STS_NOTSUPP; a write to what is write-protected is a kind of request that it does
        // not do either.
        Errno::OPNOTSUPP
        | Errno::NOSYS
        | Errno::NOTTY
        | Errno::ROFS
        | Errno::PERM
        | Errno::ACCESS
        | Errno::TXTBSY => Verdict::Fail(S::Unsupported),

        Errno::CANCELED => Verdict::Fail(S::Aborted),

        // BLK_STS_TIMEOUT, BLK_STS_DURATION_LIMIT.
        Errno::TIMEDOUT | Errno::TIME => Verdict::Fail(S::TimedOut),

        // BLK_STS_OFFLINE, BLK_STS_TRANSPORT, and a file whose server or medium went away.
        Errno::NODEV
        | Errno::NXIO
        | Errno::NOLINK
        | Errno::NOMEDIUM
        | Errno::STALE
        | Errno::SHUTDOWN
        | Errno::NOTCONN
        | Errno::HOSTDOWN => Verdict::Fail(S::Gone),

        _ => Verdict::Fail(S::MediaError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every number that Linux has gets the verdict that the kernel's own table implies, and
    /// no number is left out. Method: all of them, against a list by raw number.
    #[test]
    fn every_errno_has_its_verdict() {
        let expected: [(Verdict, &[i32]); 8] = [
            (
                Verdict::Retry,
                &[libc::EINTR, libc::EAGAIN, libc::EBUSY, libc::ENOMEM, libc::ENOBUFS],
            ),
            (
                Verdict::Fail(IoStatus::InvalidRequest),
                &[
                    libc::EINVAL,
                    libc::EFAULT,
                    libc::EBADF,
                    libc::EOVERFLOW,
                    libc::ESPIPE,
                    libc::EISDIR,
                    libc::EDOM,
                    libc::ERANGE,
                    libc::E2BIG,
                ],
            ),
            (Verdict::Fail(IoStatus::NoSpace), &[libc::ENOSPC, libc::EDQUOT, libc::EFBIG]),
            (
                Verdict::Fail(IoStatus::Unsupported),
                &[
                    libc::EOPNOTSUPP,
                    libc::ENOSYS,
                    libc::ENOTTY,
                    libc::EROFS,
                    libc::EPERM,
                    libc::EACCES,
                    libc::ETXTBSY,
                ],
            ),
            (Verdict::Fail(IoStatus::Aborted), &[libc::ECANCELED]),
            (Verdict::Fail(IoStatus::TimedOut), &[libc::ETIMEDOUT, libc::ETIME]),
            (
                Verdict::Fail(IoStatus::Gone),
                &[
                    libc::ENODEV,
                    libc::ENXIO,
                    libc::ENOLINK,
                    libc::ENOMEDIUM,
                    libc::ESTALE,
                    libc::ESHUTDOWN,
                    libc::ENOTCONN,
                    libc::EHOSTDOWN,
                ],
            ),
            (Verdict::Fail(IoStatus::MediaError), &[libc::EIO, libc::ENODATA, libc::EILSEQ]),
        ];
        for number in 1..=libc::EHWPOISON {
            let verdict = judge(Errno::from_raw_os_error(number));
            let row = expected.iter().find(|(_, numbers)| numbers.contains(&number));
            let wanted = row.map_or(Verdict::Fail(IoStatus::MediaError), |(verdict, _)| *verdict);
            assert_eq!(verdict, wanted, "errno {number}");
        }
    }
}
