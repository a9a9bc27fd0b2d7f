//! A directory, a configuration in it, and the program that is run there.
//!
//! Not here: what is tested.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Size of a file behind a bdev.
pub(crate) const MEMBER_BYTES: u64 = 4 << 20;

/// Size of the array: five members, of which one is parity.
pub(crate) const ARRAY_BYTES: u64 = 4 * MEMBER_BYTES;

/// A directory on a real file system, where `O_DIRECT` works.
pub(crate) struct Place {
    directory: TempDir,
    config: PathBuf,
}

impl Place {
    /// A configuration with array `r0` (RAID 5 of `member0` to `member4`), `spare` (aio, blocks of
    /// 512 bytes), `readonly`, `n0` (null) and `m0` (malloc).
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let mut entries: Vec<Value> = (0..5)
            .map(|slot| {
                let name = format!("member{slot}");
                json!({"method": "bdev_uring_create", "params": {
                    "name": name, "filename": path(&name), "block_size": 4096,
                    "create_size_mib": MEMBER_BYTES >> 20}})
            })
            .collect();
        fs::write(path("spare"), vec![0; MEMBER_BYTES as usize]).unwrap();
        fs::write(path("readonly"), vec![7; 65_536]).unwrap();
        entries.extend([
            json!({"method": "bdev_raid_create", "params": {
                "name": "r0", "raid_level": "raid5", "strip_size_kb": 16,
                "base_bdevs": ["member0", "member1", "member2", "member3", "member4"]}}),
            json!({"method": "bdev_aio_create", "params": {
                "name": "spare", "filename": path("spare"), "block_size": 512}}),
            json!({"method": "bdev_aio_create", "params": {
                "name": "readonly", "filename": path("readonly"), "block_size": 512,
                "readonly": true}}),
            json!({"method": "bdev_null_create", "params": {
                "name": "n0", "num_blocks": 1 << 20, "block_size": 4096}}),
            json!({"method": "bdev_malloc_create", "params": {
                "name": "m0", "num_blocks": 2048, "block_size": 4096}}),
        ]);
        let config = directory.path().join("config.json");
        let text = json!({"subsystems": [{"subsystem": "bdev", "config": entries}]});
        fs::write(&config, text.to_string()).unwrap();
        Self { directory, config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// The program with a tool's words and the configuration, not started yet.
    pub(crate) fn command(&self, tool: &str, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raid456"));
        command.current_dir(self.directory.path()).arg(tool).arg("--config").arg(self.config());
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, tool: &str, words: &str) -> Run {
        Run::of(self.command(tool, words).output().unwrap())
    }

    /// As [`Place::run`], with these bytes on stdin.
    pub(crate) fn run_with_input(&self, tool: &str, words: &str, input: &[u8]) -> Run {
        let mut command = self.command(tool, words);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that refuses its arguments does not read.
        let _ = stdin.write_all(input);
        drop(stdin);
        Run::of(child.wait_with_output().unwrap())
    }
}

/// How the program ended and what it said.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// It went well.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.text(), self.stderr);
        self
    }

    /// It failed with this exit code, and said all of these.
    #[track_caller]
    pub(crate) fn bad(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {:?}", self.stderr);
        }
        self
    }
}

/// Bytes of which no two pieces are alike.
pub(crate) fn painted(len_bytes: usize) -> Vec<u8> {
    (0..len_bytes).map(|at| ((at / 512 * 13) ^ (at / 131_072) ^ (at % 251)) as u8).collect()
}
