//! `raid456 docs`: manual pages and shell completions, made of the command line itself.
//!
//! Not here: the methods of the service (`rpc --help`).

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::Cli;

/// Arguments of `raid456 docs`.
#[derive(Debug, Args)]
pub struct DocsArgs {
    /// What to make
    #[command(subcommand)]
    pub what: Docs,
}

/// What can be made.
#[derive(Debug, Subcommand)]
pub enum Docs {
    /// Write the manual pages into a directory, one for each command
    Man {
        /// The directory, which is made if it is missing
        directory: PathBuf,
    },
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Makes them.
///
/// # Errors
///
/// What the file system refuses.
pub fn run(args: DocsArgs) -> Result<(), Box<dyn Error>> {
    match args.what {
        Docs::Man { directory } => {
            let failed = |error| format!("{}: {error}", directory.display());
            fs::create_dir_all(&directory).map_err(failed)?;
            clap_mangen::generate_to(Cli::command(), &directory).map_err(failed)?;
        }
        Docs::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "raid456", &mut script);
            super::print(&String::from_utf8(script)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod reference;
