//! The command line: one file per subcommand.
//!
//! | subcommand | what |
//! |---|---|
//! | [`serve`] | the service, in the foreground |
//! | [`rpc`] | one call to a running service |
//! | [`perf`] | a load on a bdev, in this process |
//! | [`dm`] | dmsetup's verbs, on a running service |
//! | [`dd`] | copies between bdevs and files, in this process |
//! | [`status`] | how everything is, with an exit code for monitoring |
//! | [`scrub`] | a check of arrays, waited for |
//! | [`docs`] | manual pages and completions |
//! | [`top`] | what goes on, again and again |
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed (with a message), 2
//! wrong usage (clap's). `status` has its own.
//!
//! Not here: what the commands do beyond arguments, output and signals.

pub mod dd;
pub mod dm;
pub mod docs;
pub mod perf;
pub mod rpc;
pub mod scrub;
pub mod serve;
mod session;
pub mod socket;
pub mod status;
mod supervisor;
pub mod top;
mod units;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reactor::{CpuSet, PollMode};

use crate::control::Options;
use crate::log;

/// RAID 4/5/6 for NVMe in user space.
#[derive(Debug, Parser)]
#[command(name = "raid456", version, about)]
pub struct Cli {
    /// What to log on stderr: error, warn, info, debug, trace, or a filter as RUST_LOG has it
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// How messages of the log look
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: log::Format,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve arrays until SIGINT or SIGTERM
    Serve(serve::ServeArgs),
    /// Call a method of a running service
    Rpc(rpc::RpcArgs),
    /// Make, change and look at mapped devices of a running service, as dmsetup does
    Dm(dm::DmArgs),
    /// Put load on a bdev of a configuration, and measure or verify it
    Perf(perf::PerfArgs),
    /// Copy between bdevs of a configuration and files
    Dd(dd::DdArgs),
    /// Tell how a running service is; exit code 0 healthy, 1 warning, 2 critical, 3 unknown
    Status(status::StatusArgs),
    /// Show what a running service does, again and again
    Top(top::TopArgs),
    /// Check that the parity of arrays is right, and wait for the outcome; exit code 1 when it is not
    Scrub(scrub::ScrubArgs),
    /// Make manual pages and shell completions
    Docs(docs::DocsArgs),
}

/// How reactors are to run: the options that all commands with reactors share.
#[derive(Debug, Clone, Args)]
pub struct ReactorArgs {
    /// Cores to run reactors on: 0-3,6 or a mask like 0x4f [default: all that the process may use, and no more
    /// than the CPU quota of its cgroup is worth]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CpuSet>,
    /// What a reactor without work does
    #[arg(long, value_enum, default_value_t = Poll::Adaptive, value_name = "MODE")]
    pub poll: Poll,
}

/// [`PollMode`] as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Poll {
    /// Spin for a moment, then sleep until something happens
    Adaptive,
    /// Spin for ever: lowest latency, full load
    Busy,
}

impl From<&ReactorArgs> for Options {
    fn from(args: &ReactorArgs) -> Self {
        let default = Self::default();
        Self {
            cores: args.cores.clone().unwrap_or(default.cores),
            poll: match args.poll {
                Poll::Adaptive => PollMode::Adaptive,
                Poll::Busy => PollMode::Busy,
            },
            ..default
        }
    }
}

/// The program: parses argv, runs the subcommand, and reports.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            // Not through the log: that may be filtered, and this is the answer to the caller.
            match error.downcast_ref::<dm::Refused>() {
                Some(refused) => eprintln!("{refused}"),
                None => eprintln!("raid456: {error}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    // Only a service tells what it does; the tools say what they have to say as their result.
    let default_level = match &cli.command {
        Command::Serve(_) => "info",
        Command::Rpc(_)
        | Command::Dm(_)
        | Command::Perf(_)
        | Command::Dd(_)
        | Command::Status(_)
        | Command::Top(_)
        | Command::Scrub(_)
        | Command::Docs(_) => "warn",
    };
    log::start(cli.log.as_deref(), default_level, cli.log_format)?;
    match cli.command {
        Command::Serve(args) => serve::run(args)?,
        Command::Rpc(args) => rpc::run(args)?,
        Command::Dm(args) => dm::run(args)?,
        Command::Perf(args) => perf::run(args)?,
        Command::Dd(args) => dd::run(args)?,
        Command::Docs(args) => docs::run(args)?,
        Command::Status(args) => return status::run(args),
        Command::Top(args) => return top::run(args),
        Command::Scrub(args) => return scrub::run(args),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a result.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    // A reader that has seen enough (`| head`) is no failure.
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Goal: the options that others build on exist under their names.
    #[test]
    fn documented_command_lines_are_understood() {
        for line in [
            "raid456 serve",
            "raid456 serve -c a.json -r /tmp/s --cores 0-3,6 --poll busy --log debug",
            "raid456 serve --config a.json --rpc-socket /tmp/s --cores 0x4f --poll adaptive",
            "raid456 serve --json a.json --state s.json --wait-for-rpc --log-format json",
            "raid456 serve --rpcs-allowed bdev_get_bdevs,rpc_get_methods",
            "raid456 rpc --help bdev_get_bdevs",
            "raid456 rpc bdev_get_bdevs",
            "raid456 rpc -s /tmp/s bdev_get_bdevs name=r0 timeout:=100",
            "raid456 rpc --socket /tmp/s spdk_get_version",
            "raid456 dm create r0 --table 0_1_error",
            "raid456 dm -s /tmp/s create r0 table.txt -u LVM-1 -r",
            "raid456 dm create r0 --notable",
            "raid456 dm reload r0 --table 0_1_zero --json",
            "raid456 dm suspend --noflush --nolockfs r0 r1",
            "raid456 dm remove --retry --deferred -f r0",
            "raid456 dm message r0 0 bandwidth set 20",
            "raid456 dm status --target raid --noflush",
            "raid456 dm info -c --noheadings",
            "raid456 dm ls --tree",
            "raid456 dm wait r0 3",
            "raid456 perf --config a.json --bdev r0 --rw randwrite --bs 4k --iodepth 32 --runtime 5 \
             --cores 0 --verify --json out.json",
            "raid456 dd --config a.json --ib r0 --of file --bs 1m --count 8 --skip 1 --seek 2",
            "raid456 dd --config a.json --if file --ob r0",
            "raid456 serve --metrics 9456",
            "raid456 serve --metrics 0.0.0.0:9456 --config a.json",
            "raid456 serve --metrics",
            "raid456 serve --rpc-socket-mode 0660",
            "raid456 status --json -s /tmp/s",
            "raid456 scrub",
            "raid456 scrub -s /tmp/s --no-wait r0 r1",
            "raid456 top -n 2 --interval 0.5 --json --no-members r0",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        let wrong = Cli::try_parse_from(["raid456", "serve", "--cores", "3-1"]).unwrap_err();
        assert!(wrong.to_string().contains("ends before it starts"), "{wrong}");
    }
}
