//! `raid456 serve`: the service in the foreground.
//!
//! ```text
//!   signals caught --> config read --> reactors --> socket (methods refused: -1) --> config applied
//!                                                                                        |
//!   exit 0 <-- state <-- reactors stopped <-- bdevs stopped, flushed <-- socket closed <-- ready, signal
//! ```
//!
//! The socket comes before the configuration is applied, because its lock says whether another
//! service is at work on the same files. Whatever fails on the way is undone: sockets, locks, and
//! files that were made.
//!
//! With `--wait-for-rpc` it is ready for clients at once, and the rest comes when one of them says so.
//!
//! Not here: what configuration and state say (`methods`).

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rpc::{Server, SocketMode};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::ReactorArgs;
use super::socket::{SOCKET_PATH, SOCKET_VARIABLE};
use super::supervisor::Supervisor;
use crate::control::{Config, Control, Options};
use crate::methods::{Boot, Methods, Store};
use crate::web::{self, HttpServer, Listen};

/// Arguments of `raid456 serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration to start with, in SPDK's shape
    #[arg(short, long, visible_alias = "json", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep what clients make in this file, and make it again at the next start
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Apply configuration and state only when a client calls framework_start_init
    #[arg(long)]
    pub wait_for_rpc: bool,
    /// Let clients call these methods only
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',')]
    pub rpcs_allowed: Option<Vec<String>>,
    /// Unix socket to serve JSON-RPC on
    #[arg(short, long, value_name = "PATH", default_value = SOCKET_PATH, env = SOCKET_VARIABLE)]
    pub rpc_socket: PathBuf,
    /// Who may connect to it, and so do everything: 0600 its owner, 0660 its group too, 0666 everybody
    #[arg(long, value_name = "MODE", default_value_t)]
    pub rpc_socket_mode: SocketMode,
    /// Serve metrics for Prometheus, health and a status page over HTTP: HOST:PORT, or a PORT of this machine
    /// [with the option alone: 127.0.0.1:9456]
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, default_missing_value = "9456")]
    pub metrics: Option<Listen>,
    /// How long after the start arrays wait for members that are missing, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub patience: u64,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub reactors: ReactorArgs,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// Why it could not start, or what could not be flushed at the end.
pub fn run(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    // First, so that a signal during the start ends it in order too.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let config = args.config.map(Config::load).transpose()?;
    let listen = args.metrics.or_else(|| config.as_ref().and_then(|c| c.metrics().cloned()));
    let boot = Arc::new(Boot::new(config, args.state.map(Store::new), args.rpcs_allowed));
    let mut options = Options::from(&args.reactors);
    options.patience = Duration::from_secs(args.patience);
    let mut supervisor = Supervisor::from_environment();
    let control = Control::start(options)?;
    let methods = Methods::new(Arc::clone(&control), Arc::clone(&boot));
    let meter = methods.meter();
    let server = Server::start_for(args.rpc_socket_mode, &args.rpc_socket, Arc::new(methods))?;
    let web = listen.map(|listen| web::serve(&listen, &control, vec![meter])).transpose()?;
    let started = if args.wait_for_rpc { Ok(()) } else { boot.run(&control) };
    let outcome = match started {
        Ok(()) => {
            let line = announcement(&server, &control, web.as_ref());
            announce(&line);
            supervisor.ready(&control, &line);
            wait_for(&mut signals);
            supervisor.stopping();
            boot.outcome()
        }
        Err(error) => Err(error.into()),
    };
    // Nothing new comes in any more, then what is in flight ends, then all of it is made durable.
    server.stop();
    let stopped = control.shutdown();
    let closed = boot.close(&control);
    drop(web);
    outcome?;
    stopped?;
    closed?;
    tracing::info!("stopped");
    Ok(())
}

/// The one line that supervisors and tests wait for.
fn announcement(server: &Server, control: &Control, web: Option<&HttpServer>) -> String {
    let cores: Vec<_> = control.reactors().iter().map(|reactor| reactor.core()).collect();
    let names: Vec<_> = control.bdevs().iter().map(|view| view.bdev.info().name.clone()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    let path = server.path().display();
    let what = if control.is_started() { "ready" } else { "waits for framework_start_init" };
    let web = web.map_or(String::new(), |web| format!("; metrics: http://{}", web.address()));
    format!("{what}: socket {path}; reactors on cores {cores:?}; bdevs: {names}{web}")
}

fn announce(line: &str) {
    // Whoever started it and does not read is no reason to stop.
    let mut stdout = std::io::stdout();
    drop(writeln!(stdout, "raid456 {line}"));
    drop(stdout.flush());
}

fn wait_for(signals: &mut Signals) {
    let signal = signals.forever().next();
    let name = signal.and_then(signal_hook::low_level::signal_name).unwrap_or("signal");
    tracing::info!("{name}: draining and flushing");
}
