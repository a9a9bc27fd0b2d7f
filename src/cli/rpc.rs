//! `raid456 rpc`: one call to a running service.
//!
//! Not here: how words become parameters (`rpc::cli_args`), the protocol (`rpc::client`).

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rpc::{Client, cli_args, limits, params};

use super::SOCKET_PATH;

/// Arguments of `raid456 rpc`.
#[derive(Debug, Args)]
pub struct RpcArgs {
    /// Unix socket of the service
    #[arg(short, long, value_name = "PATH", default_value = SOCKET_PATH)]
    pub socket: PathBuf,
    /// Seconds to wait for the reply
    #[arg(short, long, value_name = "SECONDS", default_value_t = limits::CALL_TIME_LIMIT.as_secs())]
    pub timeout: u64,
    /// The method, for example bdev_get_bdevs; rpc_get_methods lists all
    pub method: String,
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
    let method = params::find(&args.method);
    let params = cli_args::parse(&args.params, method)?;
    let limit = Duration::from_secs(args.timeout);
    let mut client = Client::connect(&args.socket)?.with_time_limit(limit);
    let result = client.call(&args.method, params)?;
    let text = serde_json::to_string_pretty(&result)?;
    // A reader that has seen enough (`| head`) is no failure.
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
