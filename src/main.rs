//! `raid456`: argv to subcommand.
//!
//! Not here: everything else (`raid456::cli`).

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    raid456::cli::main()
}
