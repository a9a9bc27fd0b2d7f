//! The socket in the file system, and the lock file beside it.
//!
//! ```text
//!   <path>        socket, mode 0600 unless more may connect (SocketMode)
//!   <path>.lock   empty, mode 0600, flock(LOCK_EX) for as long as the server lives
//! ```
//!
//! The lock, which dies with its process, tells a socket that is served from one that a crash left
//! behind. SPDK locks the same file in the same way, so neither takes the other's socket away.
//!
//! Not here: what is said over the socket.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen};

use crate::limits;

/// Who may connect. Whoever may can do everything: make, change and delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SocketMode {
    /// The user of the server, and root: 0600.
    #[default]
    Owner,
    /// And the group of the socket, which is the server's: 0660.
    Group,
    /// And everybody who can reach its directory: 0666.
    Everybody,
}

impl SocketMode {
    /// As `chmod` has it.
    pub fn bits(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o660,
            Self::Everybody => 0o666,
        }
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.bits())
    }
}

/// A mode that is none of a socket's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no mode for the socket: 0600 lets its owner connect, 0660 its group too, 0666 everybody"
)]
pub struct NoSocketMode(String);

impl FromStr for SocketMode {
    type Err = NoSocketMode;

    fn from_str(text: &str) -> Result<Self, NoSocketMode> {
        let bits = u32::from_str_radix(text, 8).ok();
        let mut modes = [Self::Owner, Self::Group, Self::Everybody].into_iter();
        modes.find(|mode| Some(mode.bits()) == bits).ok_or_else(|| NoSocketMode(text.to_owned()))
    }
}

/// Why a server cannot have its socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Another server holds the lock.
    #[error(
        "rpc socket {path}: in use by another server, which holds {path}.lock; \
         stop that one or choose another path"
    )]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something else than a socket is there, and it is not ours to remove.
    #[error("rpc socket {path}: exists and is not a socket; remove it or choose another path")]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// The path does not fit a socket address.
    #[error(
        "rpc socket {path}: a socket's path may be at most 107 bytes long, without a zero byte"
    )]
    BadPath {
        /// The socket's path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("rpc socket {path}: cannot {action}: {source}")]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// The two files. Dropping it removes them, the lock last.
#[derive(Debug)]
pub(super) struct SocketFiles {
    path: PathBuf,
    lock_path: PathBuf,
    /// Holds the lock until it is closed, which is after the file is removed.
    _lock: File,
    bound: bool,
}

impl SocketFiles {
    /// Locks `path` and listens on it.
    pub(super) fn listen(
        path: &Path,
        mode: SocketMode,
    ) -> Result<(Self, UnixListener), ServerError> {
        let address = SocketAddrUnix::new(path)
            .map_err(|_| ServerError::BadPath { path: path.to_owned() })?;
        let mut files = Self::lock(path)?;
        files.remove_stale()?;
        let listener = files.bind(&address, mode).map_err(|(action, source)| ServerError::Io {
            path: path.to_owned(),
            action,
            source,
        })?;
        Ok((files, listener))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn lock(path: &Path) -> Result<Self, ServerError> {
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let failed = |action, source| ServerError::Io { path: path.to_owned(), action, source };
        // Each turn of the loop needs another server that is just leaving, so it ends.
        loop {
            let file =
                open_lock(&lock_path).map_err(|error| failed("open its lock file", error))?;
            match hold(file, &lock_path) {
                Ok(Some(lock)) => {
                    return Ok(Self {
                        path: path.to_owned(),
                        lock_path,
                        _lock: lock,
                        bound: false,
                    });
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(ServerError::InUse { path: path.to_owned() });
                }
                Err(error) => return Err(failed("lock its lock file", error)),
            }
        }
    }

    /// Removes the socket of a server that did not stop properly: we hold the lock, so it is dead.
    fn remove_stale(&self) -> Result<(), ServerError> {
        let path = &self.path;
        let failed = |action, source| ServerError::Io { path: path.to_owned(), action, source };
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                fs::remove_file(path).map_err(|error| failed("remove the stale socket", error))
            }
            Ok(_) => Err(ServerError::NotASocket { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("look at it", error)),
        }
    }

    fn bind(
        &mut self,
        address: &SocketAddrUnix,
        mode: SocketMode,
    ) -> Result<UnixListener, (&'static str, io::Error)> {
        let failed = |action| move |errno: Errno| (action, errno.into());
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed("make a socket"))?;
        // Linux gives the file the mode of the unbound socket, less the umask: so there is no
        // moment in which others may connect.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed("set its mode"))?;
        bind(&socket, address).map_err(failed("bind"))?;
        self.bound = true;
        if mode != SocketMode::Owner {
            // What was asked for, whatever the umask takes away.
            fs::set_permissions(&self.path, Permissions::from_mode(mode.bits()))
                .map_err(|error| ("set its mode", error))?;
        }
        listen(&socket, limits::LISTEN_BACKLOG).map_err(failed("listen"))?;
        Ok(UnixListener::from(socket))
    }

    /// Removes the socket, so that no client finds it any more; the path stays locked.
    pub(super) fn remove_socket(&mut self) {
        if self.bound {
            self.bound = false;
            report(&self.path, fs::remove_file(&self.path));
        }
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        self.remove_socket();
        report(&self.lock_path, fs::remove_file(&self.lock_path));
    }
}

fn open_lock(lock_path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(lock_path)
}

/// Locks `file`, which was opened at `lock_path`. None if it is not there any more: a server that
/// leaves may have removed it before we locked it, and a lock on a removed file excludes nobody.
fn hold(file: File, lock_path: &Path) -> io::Result<Option<File>> {
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let ours = file.metadata()?;
    let there = fs::metadata(lock_path);
    let is_there = there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
    Ok(is_there.then_some(file))
}

fn report(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "cannot remove");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the three modes are read as people write them, and shown as chmod takes them; no other is.
    #[test]
    fn modes_are_those_of_sockets() {
        for mode in [SocketMode::Owner, SocketMode::Group, SocketMode::Everybody] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(format!("{:o}", mode.bits()).parse(), Ok(mode));
        }
        for bits in (0..=0o7777).filter(|bits| ![0o600, 0o660, 0o666].contains(bits)) {
            let refused = format!("{bits:04o}").parse::<SocketMode>().unwrap_err().to_string();
            assert!(refused.contains(&format!("\"{bits:04o}\"")), "{refused}");
            assert!(refused.contains("0660 its group"), "{refused}");
        }
        for text in ["", "rw", "-600", "0x180", "0608", "99999999999999999999"] {
            assert!(text.parse::<SocketMode>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock.lock");
        let early = open_lock(&path).unwrap();
        let early_too = open_lock(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(hold(early, &path).unwrap().is_none());
        // Nor does it beside the one that another server has made.
        let other = hold(open_lock(&path).unwrap(), &path).unwrap();
        assert!(other.is_some());
        assert!(hold(early_too, &path).unwrap().is_none());
        // That one does.
        let late = hold(open_lock(&path).unwrap(), &path);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
