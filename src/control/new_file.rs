//! Files that are made for a bdev, and unmade when nothing came of it.
//!
//! ```text
//!   make_if_missing --> armed --- keep(): the bdev is there to stay --> the file is the user's
//!                         |
//!                         `------ dropped --> file and new directories removed
//! ```
//!
//! A file that exists is used as it is, whatever its size: what is on it may be an array.
//!
//! Not here: opening the file as a device (crate `device`).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::ControlError;

/// A file that did not exist before, and the directories that were made for it. Dropping it removes
/// them again.
#[derive(Debug)]
pub(crate) struct NewFile {
    /// What to remove, in the order in which it was made.
    directories: Vec<PathBuf>,
    file: Option<PathBuf>,
}

impl NewFile {
    /// Makes the file with `len_bytes` zeroes, as a hole; `None` if it exists.
    pub(crate) fn make_if_missing(
        name: &str,
        path: &Path,
        len_bytes: u64,
    ) -> Result<Option<Self>, ControlError> {
        if fs::symlink_metadata(path).is_ok() {
            return Ok(None);
        }
        let failed = |action, path: &Path, source| ControlError::NewFile {
            name: name.to_owned(),
            action,
            path: path.to_owned(),
            source,
        };
        let mut made = Self { directories: Vec::new(), file: None };
        if let Some(parent) = path.parent() {
            made.make_directories(parent)
                .map_err(|(path, source)| failed("make the directory", &path, source))?;
        }
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = match opened {
            Ok(file) => file,
            // Somebody was faster, and then it is theirs.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(failed("make", path, error)),
        };
        made.file = Some(path.to_owned());
        file.set_len(len_bytes).map_err(|error| failed("set the size of", path, error))?;
        Ok(Some(made))
    }

    /// Makes those of the directories above a file that are missing, the outermost first.
    fn make_directories(&mut self, parent: &Path) -> Result<(), (PathBuf, io::Error)> {
        let missing: Vec<&Path> = parent
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => self.directories.push(path.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err((path.to_owned(), error)),
            }
        }
        Ok(())
    }

    /// A bdev, and the file that was made for it.
    ///
    /// # Errors
    /// Why there is no bdev; the file goes with it, but for one that somebody else has taken meanwhile.
    pub(crate) fn of<B>(
        bdev: Result<B, device::CreateError>,
        file: Option<Self>,
    ) -> Result<(B, Option<Self>), ControlError> {
        match (bdev, file) {
            (Ok(bdev), file) => Ok((bdev, file)),
            (Err(error @ device::CreateError::FileLocked { .. }), Some(file)) => {
                file.keep();
                Err(error.into())
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The file stays.
    pub(crate) fn keep(mut self) {
        self.file = None;
        self.directories.clear();
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(path) = self.file.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove a file that was made");
        }
        for path in self.directories.drain(..).rev() {
            // Somebody else may have put a file into it since.
            if let Err(error) = fs::remove_dir(&path) {
                tracing::debug!(path = %path.display(), %error, "directory is left");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what was made is unmade, and what was there is not touched.
    #[test]
    fn dropping_leaves_what_was_there_before() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a/b/disk.img");
        let made = NewFile::make_if_missing("u0", &path, 1 << 20).unwrap().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
        drop(made);
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);

        NewFile::make_if_missing("u0", &path, 1 << 20).unwrap().unwrap().keep();
        assert!(NewFile::make_if_missing("u0", &path, 1 << 30).unwrap().is_none());
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20, "used as it is");

        let beside = top.path().join("a/b/c/other.img");
        drop(NewFile::make_if_missing("u1", &beside, 4096).unwrap().unwrap());
        assert!(path.exists() && !top.path().join("a/b/c").exists());
    }

    /// Goal: a file that was made is removed if its bdev cannot be, and not if somebody else has locked it. Method: both
    /// errors.
    #[test]
    fn what_somebody_else_has_taken_stays() {
        let top = tempfile::tempdir().unwrap();
        let filename = top.path().join("disk.img");
        let locked =
            |name: String| device::CreateError::FileLocked { name, filename: filename.clone() };
        let in_use = |name: String| device::CreateError::FileInUse {
            name,
            filename: filename.clone(),
            holder: "u1".to_owned(),
        };
        for (error, stays) in [(in_use("u0".into()), false), (locked("u0".into()), true)] {
            let made = NewFile::make_if_missing("u0", &filename, 4096).unwrap();
            assert!(NewFile::of(Err::<(), _>(error), made).is_err());
            assert_eq!(filename.exists(), stays);
        }
    }

    /// Goal: an error names the file and leaves no directory behind.
    #[test]
    fn failing_leaves_nothing() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("new/disk.img");
        // More than any file can have.
        let error = NewFile::make_if_missing("u0", &path, u64::MAX).unwrap_err();
        assert!(error.to_string().contains("disk.img"), "{error}");
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);

        fs::write(top.path().join("file"), "x").unwrap();
        let below_a_file = top.path().join("file/disk.img");
        let error = NewFile::make_if_missing("u0", &below_a_file, 4096).unwrap_err();
        assert_eq!(error.errno(), rpc::error::errno::ENOTDIR, "{error}");
    }
}
