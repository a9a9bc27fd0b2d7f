//! Who may write to a file: one bdev, and not before the last request of whoever had it has ended.
//!
//! A process that is killed leaves requests behind: its io_uring ends on a thread of the kernel's own, which
//! waits for what the devices still have (`io_ring_exit_work` in io_uring/io_uring.c). Such a write would land
//! on what the successor has written since. So each open file of a bdev that writes has a lock, of the kind
//! that belongs to the open file and not to the process (`F_OFD_SETLK`, fcntl(2)): it goes with the last user
//! of that open file, and a request in flight is one, as is the table of a ring that has not ended.
//!
//! ```text
//!   open: is it another bdev's of this process? --no--> lock for writing --free--> lock for reading, kept
//!             |                                            |    |   `--no such locks--> a warning, no lock
//!             yes                                       taken   `--fails--> CreateError::Lock
//!             `------------ again, for a moment -----------'
//!                                 `--in vain--> CreateError::FileInUse, FileLocked
//!   opened again for a channel: locked for reading at once
//! ```
//!
//! Only who is alone gets the lock for writing. It is turned into the one for reading in one step, which
//! flock(2) cannot do: two processes could both come through the gap. As long as one lock for reading is
//! left, nobody gets one for writing. Locks bind those who ask for them: tools that look at a member are
//! not shut out, nor is udev, which uses flock(2).
//!
//! Who only reads takes no lock, and nobody waits for him.
//!
//! Waiting is bounded and for threads of the control path. All opens of a process share the time: who starts
//! after a crash waits for all of its files at once, and who finds every file in use says so soon.
//!
//! A lock belongs to the file or the node of the device. Another node of the same device, as containers with a
//! /dev of their own have, is another file: what this process knows by the device's number, others do not.
//!
//! Invariant (R1): no request of a process that has ended lands after its successor has begun.
//!
//! Not here: opening (`backing.rs`).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use reactor::{Ticks, clock};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::Stat;
use rustix::io::Errno;

use super::backing::{BackingSpec, Kind};
use crate::create::CreateError;
use crate::limits::{LOCK_PATIENCE, LOCK_PATIENCE_LEAST, LOCK_RESPITE};
use crate::stacked::lock;

/// How long to wait between two looks at a lock.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Files that bdevs of this process write to, and their names.
static HOLDERS: Mutex<BTreeMap<FileId, String>> = Mutex::new(BTreeMap::new());

/// The time that this process waits.
static PATIENCE: Mutex<Patience> = Mutex::new(Patience { vain: None });

/// What makes two open files the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FileId {
    File { dev: u64, ino: u64 },
    Device { rdev: u64 },
}

impl FileId {
    fn of(stat: &Stat, kind: Kind) -> Self {
        match kind {
            Kind::RegularFile => Self::File { dev: stat.st_dev, ino: stat.st_ino },
            Kind::BlockDevice { .. } => Self::Device { rdev: stat.st_rdev },
        }
    }
}

/// What keeps others from a file.
#[derive(Debug)]
pub(super) enum FileLock {
    /// Nothing: it is only read.
    Unneeded,
    /// Others of this process: the file system has no locks.
    Unsupported(#[expect(dead_code, reason = "held")] Holder),
    /// Everybody.
    Taken(#[expect(dead_code, reason = "held")] Holder),
}

impl FileLock {
    /// Waits until nobody else has the file, or too long, and takes it. Not for a reactor's thread.
    ///
    /// # Errors
    /// Who has it; what the system says.
    pub(super) fn take(
        spec: &BackingSpec,
        fd: BorrowedFd<'_>,
        stat: &Stat,
        kind: Kind,
    ) -> Result<Self, CreateError> {
        if spec.readonly {
            return Ok(Self::Unneeded);
        }
        Self::take_within(&PATIENCE, spec, fd, FileId::of(stat, kind))
    }

    fn take_within(
        patience: &Mutex<Patience>,
        spec: &BackingSpec,
        fd: BorrowedFd<'_>,
        id: FileId,
    ) -> Result<Self, CreateError> {
        let mut until = None;
        loop {
            let refused = match Self::attempt(spec, fd, id) {
                Ok(taken) => {
                    if until.is_some() {
                        lock(patience).rewarded();
                    }
                    return Ok(taken);
                }
                Err(error @ CreateError::Lock { .. }) => return Err(error),
                Err(refused) => refused,
            };
            let now = clock::now();
            let until = *until.get_or_insert_with(|| {
                let until = lock(patience).until(now);
                if until > now + LOCK_PATIENCE_LEAST {
                    // Not whenever it is only looked again.
                    tracing::info!(bdev = %spec.name, reason = %refused, "waits for a file");
                }
                until
            });
            if now >= until {
                return Err(refused);
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn attempt(spec: &BackingSpec, fd: BorrowedFd<'_>, id: FileId) -> Result<Self, CreateError> {
        let BackingSpec { name, filename, .. } = spec;
        let holder = Holder::register(id, name).map_err(|holder| CreateError::FileInUse {
            name: name.clone(),
            filename: filename.clone(),
            holder,
        })?;
        // The second step has nobody to give way to, and where the first is possible it is too.
        let locked = match meaning(set(fd, libc::F_WRLCK)) {
            Meaning::Taken => {
                set(fd, libc::F_RDLCK).map_or_else(Meaning::Failed, |()| Meaning::Taken)
            }
            refused => refused,
        };
        match locked {
            Meaning::Taken => Ok(Self::Taken(holder)),
            Meaning::Elsewhere => {
                Err(CreateError::FileLocked { name: name.clone(), filename: filename.clone() })
            }
            Meaning::Unsupported(errno) => {
                tracing::warn!(
                    bdev = %name,
                    filename = %filename.display(),
                    %errno,
                    "the file system has no locks: nothing keeps another process from the file, or \
                     requests of one that was killed from landing late"
                );
                Ok(Self::Unsupported(holder))
            }
            Meaning::Failed(errno) => Err(CreateError::Lock {
                name: name.clone(),
                filename: filename.clone(),
                source: errno.into(),
            }),
        }
    }

    /// Has the same file, opened once more, keep others from it as well.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn share(&self, again: BorrowedFd<'_>) -> Result<(), Errno> {
        match self {
            Self::Unneeded | Self::Unsupported(_) => Ok(()),
            Self::Taken(_) => set(again, libc::F_RDLCK),
        }
    }
}

/// Sets the lock of an open file, all of it, without waiting.
fn set(fd: BorrowedFd<'_>, kind: libc::c_int) -> Result<(), Errno> {
    let whole = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(fd.as_fd(), FcntlArg::F_OFD_SETLK(&whole))
        .map(drop)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// What an answer to the call for a lock leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Taken,
    /// Somebody else has it.
    Elsewhere,
    /// There are no such locks here.
    Unsupported(Errno),
    Failed(Errno),
}

fn meaning(answer: Result<(), Errno>) -> Meaning {
    match answer {
        Ok(()) => Meaning::Taken,
        // The same by POSIX. A signal that comes meanwhile is no reason to give up.
        Err(Errno::AGAIN | Errno::ACCESS | Errno::INTR) => Meaning::Elsewhere,
        // Network file systems without a lock service; kernels before 3.15; those of FUSE.
        Err(errno @ (Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)) => {
            Meaning::Unsupported(errno)
        }
        Err(errno) => Meaning::Failed(errno),
    }
}

/// Whether anybody has a lock of the file.
#[cfg(test)]
pub(crate) fn is_locked(path: &std::path::Path) -> bool {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    set(file.as_fd(), libc::F_WRLCK).is_err()
}

/// That a file belongs to a bdev of this process.
#[derive(Debug)]
pub(super) struct Holder(FileId);

impl Holder {
    /// Or the name of the bdev to which it belongs.
    fn register(id: FileId, name: &str) -> Result<Self, String> {
        let mut holders = lock(&HOLDERS);
        match holders.get(&id) {
            Some(holder) => Err(holder.clone()),
            None => {
                holders.insert(id, name.to_owned());
                Ok(Self(id))
            }
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        lock(&HOLDERS).remove(&self.0);
    }
}

/// For how long locks are waited for.
#[derive(Debug)]
struct Patience {
    /// When the wait began in which none was let go of, and the last file was found locked.
    vain: Option<(Ticks, Ticks)>,
}

impl Patience {
    /// Until when to wait for a file that was found locked now.
    fn until(&mut self, now: Ticks) -> Ticks {
        let begin = match self.vain {
            Some((begin, last)) if now - last < LOCK_RESPITE => begin,
            Some(_) | None => now,
        };
        self.vain = Some((begin, now));
        (begin + LOCK_PATIENCE).max(now + LOCK_PATIENCE_LEAST)
    }

    /// A file was let go of in time.
    fn rewarded(&mut self) {
        self.vain = None;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use rustix::fs::fstat;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::conformance::backends::LoopDevice;
    use crate::files::backing::Backing;

    const SECOND: Ticks = Ticks::from_secs(1);

    /// Opens as a bdev does, with patience of its own. The file stays open as long as its lock.
    fn open(
        patience: &Mutex<Patience>,
        name: &str,
        path: &Path,
    ) -> Result<(File, FileLock), CreateError> {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let stat = fstat(&file).unwrap();
        let kind = match file.metadata().unwrap().is_file() {
            true => Kind::RegularFile,
            false => Kind::BlockDevice { logical_block_bytes: 512 },
        };
        let spec = spec(name, path);
        let id = FileId::of(&stat, kind);
        FileLock::take_within(patience, &spec, file.as_fd(), id).map(|lock| (file, lock))
    }

    fn spec(name: &str, path: &Path) -> BackingSpec {
        let (name, filename) = (name.to_owned(), path.to_owned());
        BackingSpec { name, filename, block_size_bytes: Some(512), readonly: false }
    }

    /// Somebody else: an open file with a lock for reading, as the requests of a dead process have.
    fn stranger(path: &Path) -> File {
        let file = File::options().read(true).write(true).open(path).unwrap();
        set(file.as_fd(), libc::F_RDLCK).unwrap();
        file
    }

    fn fresh() -> Mutex<Patience> {
        Mutex::new(Patience { vain: None })
    }

    /// Nearly no time is left.
    fn weary() -> Mutex<Patience> {
        Mutex::new(Patience { vain: Some((Ticks::ZERO, clock::now())) })
    }

    fn file() -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(8192).unwrap();
        file
    }

    /// Goal: a file that somebody else has is refused after a time, in words that say what to do, with
    /// SPDK's number for what is busy, and is taken as soon as it is free. Method: a regular file and a block
    /// device; a holder that stays for all of the time, and one that goes soon.
    #[test]
    fn who_has_it_is_waited_for() {
        let (file, device) = (file(), LoopDevice::attach(512));
        let paths = [Some(file.path()), device.as_ref().map(|device| &*device.path)];
        for path in paths.into_iter().flatten() {
            let holder = stranger(path);
            let (patience, begin) = (fresh(), clock::now());
            let error = open(&patience, "u0", path).unwrap_err();
            let took = clock::now() - begin;
            assert!(took >= LOCK_PATIENCE && took < LOCK_PATIENCE + SECOND, "{took}");
            let shown = path.display();
            assert_eq!(
                error.to_string(),
                format!(
                    "bdev u0: {shown} is locked: another process writes to it, or the kernel still \
                     has requests of one that has ended: stop that process (fuser shows it), or wait \
                     until they have ended"
                )
            );
            assert_eq!(error.errno(), -libc::EBUSY);

            let patience = fresh();
            let (_file, lock) = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::park_timeout(Duration::from_millis(100));
                    drop(holder);
                });
                open(&patience, "u0", path).unwrap()
            });
            assert!(matches!(lock, FileLock::Taken(_)), "{lock:?}");
            let left = super::lock(&patience).vain;
            assert_eq!(left, None, "the next one is waited for as long");
            assert!(open(&weary(), "u1", path).is_err(), "and nobody else gets it");
        }
    }

    /// Goal: what belongs to a bdev of this process is refused by its name, by whatever path, until it is
    /// dropped. Method: a file with a second name.
    #[test]
    fn one_bdev_of_a_process_has_it() {
        let file = file();
        let other = file.path().with_extension("link");
        std::fs::hard_link(file.path(), &other).unwrap();
        let held = open(&fresh(), "u0", file.path()).unwrap();
        let error = open(&weary(), "u1", &other).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "bdev u1: {} is still that of bdev u0: use that one, or delete it and wait until its \
                 last request has ended",
                other.display()
            )
        );
        assert_eq!(error.errno(), -libc::EPERM);
        drop(held);
        drop(open(&weary(), "u1", &other).unwrap());
        std::fs::remove_file(other).unwrap();
    }

    /// Goal: every open file of a bdev keeps others out, the last one too. Method: one that was opened again
    /// outlives the bdev.
    #[test]
    fn files_opened_again_keep_others_out() {
        let file = file();
        let backing = Backing::open(spec("u0", file.path())).unwrap();
        let again = backing.open_again().unwrap();
        drop(backing);
        assert!(matches!(open(&weary(), "u1", file.path()), Err(CreateError::FileLocked { .. })));
        drop(again);
        open(&weary(), "u1", file.path()).unwrap();
    }

    /// Goal: whoever only reads is kept from nothing, and keeps nobody from anything.
    #[test]
    fn readers_are_free() {
        let file = file();
        let reader = || {
            let spec = BackingSpec { readonly: true, ..spec("reader", file.path()) };
            Backing::open(spec).unwrap()
        };
        let first = reader();
        let writer = open(&weary(), "u0", file.path()).unwrap();
        let second = reader();
        assert!(first.open_again().is_some() && second.open_again().is_some());
        drop(writer);
        open(&weary(), "u0", file.path()).unwrap();
    }

    /// Goal: answers mean what fcntl(2) says, and a file system without locks is used without.
    #[test]
    fn every_answer_has_its_meaning() {
        assert_eq!(meaning(Ok(())), Meaning::Taken);
        for number in 1..=libc::EHWPOISON {
            let errno = Errno::from_raw_os_error(number);
            let expected = match number {
                libc::EAGAIN | libc::EACCES | libc::EINTR => Meaning::Elsewhere,
                libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL => {
                    Meaning::Unsupported(errno)
                }
                _ => Meaning::Failed(errno),
            };
            assert_eq!(meaning(Err(errno)), expected, "{errno}");
        }
    }

    /// Goal: the files that a process finds locked have the time together, however many they are; later ones,
    /// and those after one that was let go of, have it anew. Method: times by hand.
    #[test]
    fn patience_is_shared() {
        let mut patience = Patience { vain: None };
        let least = LOCK_PATIENCE_LEAST;
        let start = Ticks::from_secs(100);
        assert_eq!(patience.until(start), start + LOCK_PATIENCE);
        assert_eq!(patience.until(start + SECOND), start + LOCK_PATIENCE);
        let mut now = start + LOCK_PATIENCE;
        for _ in 0..1000 {
            assert_eq!(patience.until(now), now + least, "at {now}");
            now += Ticks(LOCK_RESPITE.0 - 1);
        }
        now += SECOND;
        assert_eq!(patience.until(now), now + LOCK_PATIENCE);
        patience.rewarded();
        now += SECOND;
        assert_eq!(patience.until(now), now + LOCK_PATIENCE);
    }
}
