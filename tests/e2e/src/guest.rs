//! A guest: one boot, one script, its output and its exit code.
//!
//! ```text
//!   test                          QEMU                       guest
//!   Guest::start  --- initramfs = base.cpio + job.cpio --->  /init, /job/run, /job/<files>, /job/env
//!                                 ttyS0 -> file  <---------  console of the kernel
//!   Running       <- pipe ------- ttyS1          <---------  output of the script
//!   wait          <- file ------- ttyS2          <---------  its exit code
//!                 --- disks ---------------------------->    /dev/vda, /dev/vdb ...
//!                 --- folder (9p) ---------------------->    /share, for both to write
//!   127.0.0.1     <-- user networking ---------------------  10.0.2.2
//!   127.0.0.1:H   --- forward ---------------------------->  10.0.2.15:G
//! ```
//!
//! Invariant: no guest outlives its [`Running`], and none runs longer than its time.
//!
//! Not here: what is in every guest (`base`).

use crate::Lab;
use crate::base::open;
use crate::cpio::Archive;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tempfile::TempDir;

/// Time that a guest has if nothing else is said. A boot takes 3 to 5 s on an idle core.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Lines of the console that are shown when a guest did not do well.
const CONSOLE_LINES: usize = 30;

#[derive(Debug)]
struct Disk {
    image: PathBuf,
    block_bytes: u32,
}

/// What a guest is to have and to do.
#[derive(Debug)]
pub struct Guest {
    script: String,
    variables: String,
    files: Vec<(String, Vec<u8>)>,
    disks: Vec<Disk>,
    share: Option<PathBuf>,
    network: bool,
    forwards: Vec<(u16, u16)>,
    cores: usize,
    memory_mib: usize,
    timeout: Duration,
}

impl Guest {
    /// A guest that runs a script of busybox's shell, as root, in the folder `/job`.
    #[must_use]
    pub fn new(script: &str) -> Self {
        Self {
            script: script.to_owned(),
            variables: String::new(),
            files: Vec::new(),
            disks: Vec::new(),
            share: None,
            network: false,
            forwards: Vec::new(),
            cores: 1,
            memory_mib: 512,
            timeout: TIMEOUT,
        }
    }

    /// A variable of the script's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        let quoted = value.replace('\'', r"'\''");
        let _ = writeln!(self.variables, "export {name}='{quoted}'");
        self
    }

    /// A file in the script's folder.
    #[must_use]
    pub fn file(mut self, name: &str, contents: &[u8]) -> Self {
        self.files.push((name.to_owned(), contents.to_vec()));
        self
    }

    /// The next disk: `/dev/vda`, `/dev/vdb` and so on. Writes go to the image.
    #[must_use]
    pub fn disk(self, image: &Path) -> Self {
        self.disk_of_blocks(image, 512)
    }

    /// The next disk, with logical blocks of that size.
    #[must_use]
    pub fn disk_of_blocks(mut self, image: &Path, block_bytes: u32) -> Self {
        self.disks.push(Disk { image: image.to_owned(), block_bytes });
        self
    }

    /// A folder that is `/share` in the guest, for both to read and write.
    #[must_use]
    pub fn share(mut self, folder: &Path) -> Self {
        self.share = Some(folder.to_owned());
        self
    }

    /// A network, in which 10.0.2.2 is this machine's 127.0.0.1.
    #[must_use]
    pub fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// A network, and a port of this machine's 127.0.0.1 that is one of the guest's.
    #[must_use]
    pub fn forward(mut self, host_port: u16, guest_port: u16) -> Self {
        self.forwards.push((host_port, guest_port));
        self.network()
    }

    /// Number of cores; 1 if nothing else is said.
    #[must_use]
    pub fn cores(mut self, cores: usize) -> Self {
        self.cores = cores;
        self
    }

    /// Memory; 512 MiB if nothing else is said.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: usize) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Time after which the guest is ended; three minutes if nothing else is said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Boots, runs the script and waits for its end.
    ///
    /// # Panics
    /// If QEMU cannot be started.
    #[must_use]
    pub fn run(self, lab: &Lab) -> Outcome {
        self.start(lab).wait()
    }

    /// Boots, and leaves the script to itself until [`Running::wait`].
    ///
    /// # Panics
    /// If QEMU cannot be started.
    #[must_use]
    pub fn start(self, lab: &Lab) -> Running {
        self.try_start(lab).unwrap_or_else(|error| panic!("a guest cannot be started: {error}"))
    }

    fn try_start(self, lab: &Lab) -> io::Result<Running> {
        let folder = TempDir::with_prefix("e2e-")?;
        let initramfs = folder.path().join("initramfs");
        let mut file = File::create(&initramfs)?;
        // Whole entries are multiples of 4 bytes, so the second archive begins where it has to.
        io::copy(&mut open(&lab.base.initramfs)?, &mut file)?;
        file.write_all(&self.job())?;
        let mut child = Command::new(&lab.qemu)
            .args(self.arguments(&lab.base.kernel, folder.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("errors"))?)
            .spawn()?;
        let mut pipe = child.stdout.take().expect("it is piped");
        let (sender, output) = channel();
        // Ends with QEMU: it has the other end of the pipe.
        std::thread::spawn(move || {
            let mut output = Vec::new();
            let _ = pipe.read_to_end(&mut output);
            let _ = sender.send(output);
        });
        Ok(Running { child, output, folder, timeout: self.timeout })
    }

    /// What differs from guest to guest.
    fn job(&self) -> Vec<u8> {
        let mut modules = Vec::new();
        if !self.disks.is_empty() {
            modules.push("virtio_blk");
        }
        if self.share.is_some() {
            modules.extend(["9p", "9pnet_virtio"]);
        }
        if self.network {
            modules.push("virtio_net");
        }
        let flag = |on| if on { "1" } else { "" };
        let environment = format!(
            "GUEST_MODULES='{}'\nGUEST_SHARE={}\nGUEST_NETWORK={}\n{}",
            modules.join(" "),
            flag(self.share.is_some()),
            flag(self.network),
            self.variables
        );
        let mut archive = Archive::default();
        archive.file("job/env", environment.as_bytes());
        archive.program("job/run", self.script.as_bytes());
        for (name, contents) in &self.files {
            archive.program(&format!("job/{name}"), contents);
        }
        archive.finish()
    }

    fn arguments(&self, kernel: &Path, folder: &Path) -> Vec<String> {
        let in_folder = |name: &str| folder.join(name).display().to_string();
        // TCG, because KVM inside a virtual machine is not to be had everywhere.
        let mut all = words("-accel tcg -cpu max -display none -vga none -no-reboot -nodefaults");
        let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);
        add("-smp", self.cores.to_string());
        add("-m", self.memory_mib.to_string());
        add("-kernel", kernel.display().to_string());
        add("-initrd", in_folder("initramfs"));
        add(
            "-append",
            "console=ttyS0 panic=-1 quiet loglevel=7 mitigations=off nokaslr rcupdate.rcu_expedited=1".to_owned(),
        );
        add("-serial", format!("file:{}", in_folder("console")));
        add("-chardev", "stdio,id=output,signal=off".to_owned());
        add("-serial", "chardev:output".to_owned());
        add("-serial", format!("file:{}", in_folder("code")));
        for (index, Disk { image, block_bytes }) in self.disks.iter().enumerate() {
            let image = image.display();
            add("-drive", format!("file={image},if=none,id=d{index},format=raw,cache=writeback"));
            let blocks =
                format!("logical_block_size={block_bytes},physical_block_size={block_bytes}");
            add("-device", format!("virtio-blk-pci,drive=d{index},{blocks}"));
        }
        if let Some(share) = &self.share {
            let share = share.display();
            add("-virtfs", format!("local,path={share},mount_tag=share,security_model=none"));
        }
        if self.network {
            let forward = |(host, guest): &(u16, u16)| {
                format!(",hostfwd=tcp:127.0.0.1:{host}-10.0.2.15:{guest}")
            };
            let forwards: String = self.forwards.iter().map(forward).collect();
            add("-netdev", format!("user,id=n0{forwards}"));
            add("-device", "virtio-net-pci,netdev=n0".to_owned());
        }
        all
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// A guest at work. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: Receiver<Vec<u8>>,
    folder: TempDir,
    timeout: Duration,
}

impl Running {
    /// Waits until the script has ended and the guest is off, or its time is over.
    #[must_use]
    pub fn wait(mut self) -> Outcome {
        let (output, in_time) = match self.output.recv_timeout(self.timeout) {
            Ok(output) => (output, true),
            Err(RecvTimeoutError::Timeout) => {
                self.end();
                (self.output.recv().unwrap_or_default(), false)
            }
            Err(RecvTimeoutError::Disconnected) => (Vec::new(), true),
        };
        self.end_of_qemu();
        let read = |name| {
            let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let code = read("code").trim().strip_prefix("code=").and_then(|code| code.parse().ok());
        let end = match code {
            Some(code) if in_time => End::Exited(code),
            _ if in_time => End::Died,
            _ => End::TimedOut,
        };
        let console = read("errors") + &read("console");
        Outcome { end, output: String::from_utf8_lossy(&output).into_owned(), console }
    }

    fn end(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
    }

    fn end_of_qemu(&mut self) {
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        self.end_of_qemu();
    }
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The script ended with this exit code.
    Exited(i32),
    /// Its time was over.
    TimedOut,
    /// The guest or QEMU ended before the script did.
    Died,
}

/// What became of a guest.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Output and errors of the script.
    pub output: String,
    /// Messages of QEMU and of the guest's kernel.
    pub console: String,
}

impl Outcome {
    /// The output of a script that ended with exit code 0.
    ///
    /// # Panics
    /// If it did not; shows what it said, and the last lines of the console.
    #[must_use]
    pub fn expect_success(&self) -> &str {
        if self.end != End::Exited(0) {
            let lines: Vec<&str> = self.console.lines().collect();
            let last = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n");
            panic!("the guest: {:?}\n{}\n--- console\n{last}", self.end, self.output);
        }
        &self.output
    }
}
