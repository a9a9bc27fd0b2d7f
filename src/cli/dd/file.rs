//! The file sides of a copy: ordinary reads and writes on the command's own thread.
//!
//! Not here: buffers and order (`pump`).

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::plan::InputEnd;

/// A file that is copied from.
#[derive(Debug)]
pub(super) struct FileInput {
    path: PathBuf,
    file: File,
    /// `None`: a pipe or the like.
    size_bytes: Option<u64>,
    at_bytes: u64,
}

impl FileInput {
    /// Opens it and finds out how long it is, where that can be known.
    pub(super) fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let failed = |error: io::Error| format!("input file {}: {error}", path.display());
        let mut file = File::open(path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        if kind.is_dir() {
            return Err(format!("input file {} is a directory", path.display()).into());
        }
        let size_bytes = if kind.is_file() || kind.is_block_device() {
            let size_bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
            file.rewind().map_err(failed)?;
            Some(size_bytes)
        } else {
            None
        };
        Ok(Self { path: path.to_owned(), file, size_bytes, at_bytes: 0 })
    }

    pub(super) fn end(&self) -> InputEnd {
        InputEnd::File { path: self.path.display().to_string(), size_bytes: self.size_bytes }
    }

    /// Goes to where the copy begins; a pipe is read up to there.
    pub(super) fn skip_to(&mut self, offset_bytes: u64) -> Result<(), Box<dyn Error>> {
        let skipped = match self.size_bytes {
            Some(_) => self.file.seek(SeekFrom::Start(offset_bytes)),
            None => io::copy(&mut (&mut self.file).take(offset_bytes), &mut io::sink()),
        };
        let skipped = skipped.map_err(|error| self.failed(&error))?;
        if skipped < offset_bytes {
            return Err(format!(
                "input file {} ends at byte {skipped}: --skip goes to byte {offset_bytes}",
                self.path.display()
            )
            .into());
        }
        self.at_bytes = offset_bytes;
        Ok(())
    }

    /// Fills as much of the buffer as the file still has; less than all of it is the end.
    pub(super) fn fill(&mut self, buf: &mut [u8]) -> Result<usize, Box<dyn Error>> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.at_bytes += filled as u64;
                    return Err(self.failed(&error));
                }
            }
        }
        self.at_bytes += filled as u64;
        Ok(filled)
    }

    fn failed(&self, error: &io::Error) -> Box<dyn Error> {
        let (path, at) = (self.path.display(), self.at_bytes);
        format!("input file {path}: reading at byte {at}: {error}").into()
    }
}

/// A file that is copied to.
#[derive(Debug)]
pub(super) struct FileOutput {
    path: PathBuf,
    file: File,
    at_bytes: u64,
}

impl FileOutput {
    /// Opens or makes it, cuts it off at `offset_bytes` if `truncate`, and goes there.
    pub(super) fn open(
        path: &Path,
        offset_bytes: u64,
        truncate: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let failed = |error: io::Error| format!("output file {}: {error}", path.display());
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        if truncate && file.metadata().map_err(failed)?.is_file() {
            file.set_len(offset_bytes).map_err(failed)?;
        }
        if offset_bytes > 0 {
            file.seek(SeekFrom::Start(offset_bytes)).map_err(|error| {
                let path = path.display();
                format!("output file {path}: --seek to byte {offset_bytes}: {error}")
            })?;
        }
        Ok(Self { path: path.to_owned(), file, at_bytes: offset_bytes })
    }

    /// Writes all of it after what was written before.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        self.file.write_all(bytes).map_err(|error| {
            let (path, at) = (self.path.display(), self.at_bytes);
            format!("output file {path}: writing {} bytes at byte {at}: {error}", bytes.len())
        })?;
        self.at_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes durable what was written. Pipes and the like have nothing to make durable.
    pub(super) fn sync(&mut self) -> Result<(), Box<dyn Error>> {
        let path = self.path.display();
        let failed = |error: io::Error| format!("output file {path}: {error}");
        let kind = self.file.metadata().map_err(failed)?.file_type();
        if kind.is_file() || kind.is_block_device() {
            let synced = self.file.sync_all();
            synced.map_err(|error| format!("output file {path}: making it durable: {error}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(result: Result<T, Box<dyn Error>>) -> String {
        result.map(drop).unwrap_err().to_string()
    }

    #[test]
    fn files_tell_their_size_and_pipes_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, [7; 1000]).unwrap();
        let mut input = FileInput::open(&path).unwrap();
        assert!(matches!(input.end(), InputEnd::File { size_bytes: Some(1000), .. }));
        input.skip_to(900).unwrap();
        let mut buf = [0; 64];
        assert_eq!(input.fill(&mut buf).unwrap(), 64);
        assert_eq!(input.fill(&mut buf).unwrap(), 36);
        assert_eq!(input.fill(&mut buf).unwrap(), 0);

        let mut zeroes = FileInput::open(Path::new("/dev/zero")).unwrap();
        assert!(matches!(zeroes.end(), InputEnd::File { size_bytes: None, .. }));
        zeroes.skip_to(100).unwrap();
        assert_eq!(zeroes.fill(&mut buf).unwrap(), 64);
        let mut nothing = FileInput::open(Path::new("/dev/null")).unwrap();
        let error = message(nothing.skip_to(100));
        assert_eq!(error, "input file /dev/null ends at byte 0: --skip goes to byte 100");
    }

    #[test]
    fn outputs_are_cut_off_at_the_seek_unless_told_not_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        for (truncate, len_bytes) in [(true, 303), (false, 1000)] {
            std::fs::write(&path, [7; 1000]).unwrap();
            let mut output = FileOutput::open(&path, 300, truncate).unwrap();
            output.write(&[1, 2, 3]).unwrap();
            output.sync().unwrap();
            let found = std::fs::read(&path).unwrap();
            assert_eq!(found.len(), len_bytes);
            assert_eq!(found[299..303], [7, 1, 2, 3]);
        }
        let mut null = FileOutput::open(Path::new("/dev/null"), 0, true).unwrap();
        null.write(&[1]).unwrap();
        null.sync().unwrap();
    }

    /// Goal: errors name the side, the file and the place.
    #[test]
    fn errors_name_the_file() {
        let error = message(FileInput::open(Path::new("/no/such")));
        assert!(error.starts_with("input file /no/such: No such file"), "{error}");
        let error = message(FileInput::open(Path::new("/")));
        assert_eq!(error, "input file / is a directory");
        let error = message(FileOutput::open(Path::new("/no/such"), 0, true));
        assert!(error.starts_with("output file /no/such: No such file"), "{error}");
        let mut full = FileOutput::open(Path::new("/dev/full"), 0, true).unwrap();
        let error = message(full.write(&[0; 10]));
        assert!(
            error.starts_with("output file /dev/full: writing 10 bytes at byte 0: "),
            "{error}"
        );
    }
}
