//! `raid456 rpc`: one call to a running service, or what a method is for.
//!
//! Not here: how words become parameters (`rpc::cli_args`), the protocol (`rpc::client`).

use std::error::Error;
use std::time::Duration;

use clap::{Args, CommandFactory};
use rpc::{cli_args, limits, params, reference};

use super::socket::SocketArgs;
use super::{Cli, print};

/// Arguments of `raid456 rpc`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct RpcArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub socket: SocketArgs,
    /// Seconds to wait for the reply
    #[arg(short, long, value_name = "SECONDS", default_value_t = limits::CALL_TIME_LIMIT.as_secs())]
    pub timeout: u64,
    /// Explain the method, or this command
    #[arg(short, long)]
    pub help: bool,
    /// The method, for example bdev_get_bdevs; rpc_get_methods lists all
    #[arg(required_unless_present = "help")]
    pub method: Option<String>,
    /// Its parameters: key=value, where the method says what the value is, or key:=json
    #[arg(value_name = "KEY=VALUE")]
    pub params: Vec<String>,
}

/// Calls the method and prints its result as JSON.
///
/// # Errors
///
/// Words that are no parameters, a service that is not there, or what the service answers.
pub fn run(args: RpcArgs) -> Result<(), Box<dyn Error>> {
    let Some(name) = args.method.as_deref().filter(|_| !args.help) else {
        return explain(args.method.as_deref());
    };
    let method = params::find(name);
    let params = cli_args::parse(&args.params, method)?;
    let limit = Duration::from_secs(args.timeout);
    let mut client = args.socket.connect(limit)?;
    let result = client.call(name, params)?;
    print(&serde_json::to_string_pretty(&result)?)
}

/// Prints what a method is for, or the command itself.
fn explain(method: Option<&str>) -> Result<(), Box<dyn Error>> {
    let Some(name) = method else {
        let mut cli = Cli::command();
        cli.build();
        let command = cli.find_subcommand_mut("rpc").ok_or("there is no such command")?;
        return print(&command.render_long_help().to_string());
    };
    let method = params::find(name)
        .ok_or_else(|| format!("{name}: there is no such method; rpc_get_methods lists all"))?;
    print(&reference::help(method))
}
