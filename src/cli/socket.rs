//! Where a service's socket is: for the service, and for clients who are not told.
//!
//! ```text
//!   --socket, else RAID456_SOCKET   that one, and no other
//!   neither                         /run/raid456/rpc.sock, where the packaged service has it; when nobody
//!                                   answers there /var/tmp/raid456.sock, where serve has it by itself
//! ```
//!
//! The packaged one comes first because nobody but root and the service can put a socket there, while
//! `/var/tmp` is everybody's: on a host that has the package a client is not taken in by a false service.
//!
//! Not here: the protocol (`rpc::client`).

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rpc::{Client, ClientError};

/// Where a service listens unless it is told otherwise.
pub const SOCKET_PATH: &str = "/var/tmp/raid456.sock";

/// Where the service of the package, the image and the manifests listens.
pub const PACKAGED_SOCKET_PATH: &str = "/run/raid456/rpc.sock";

/// The variable that says otherwise, for the service and its clients.
pub const SOCKET_VARIABLE: &str = "RAID456_SOCKET";

/// Where clients look, in this order, when they are not told.
const DEFAULT_PATHS: [&str; 2] = [PACKAGED_SOCKET_PATH, SOCKET_PATH];

/// Where to find the service, for all commands that ask one.
#[derive(Debug, Clone, Args)]
pub struct SocketArgs {
    /// Unix socket of the service [default: /run/raid456/rpc.sock if somebody answers there, else
    /// /var/tmp/raid456.sock]
    #[arg(short, long, value_name = "PATH", env = SOCKET_VARIABLE, global = true)]
    pub socket: Option<PathBuf>,
}

impl SocketArgs {
    /// A connection to the service, with a limit for each call.
    ///
    /// # Errors
    ///
    /// Every path that was tried, and why it was not to be had.
    pub(super) fn connect(&self, limit: Duration) -> Result<Client, NoService> {
        let defaults = DEFAULT_PATHS.map(Path::new);
        let told = self.socket.as_deref();
        let paths = told.as_ref().map_or(&defaults[..], std::slice::from_ref);
        Ok(connect_first(paths)?.with_time_limit(limit))
    }
}

/// Nobody listens at any of these.
#[derive(Debug)]
pub struct NoService(Vec<(PathBuf, io::Error)>);

impl fmt::Display for NoService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot connect")?;
        for (place, (path, error)) in self.0.iter().enumerate() {
            let word = if place == 0 { " to" } else { ", nor to" };
            write!(f, "{word} {}: {error}", path.display())?;
        }
        write!(f, "; is the server running? --socket and {SOCKET_VARIABLE} say where it is")
    }
}

impl Error for NoService {}

/// A connection to the first of these where somebody listens.
fn connect_first(paths: &[&Path]) -> Result<Client, NoService> {
    let mut tried = Vec::new();
    for path in paths {
        match Client::connect(path) {
            Ok(client) => return Ok(client),
            Err(ClientError::Connect { path, source }) => tried.push((path, source)),
            // Connecting fails in no other way.
            Err(error) => tried.push((path.to_path_buf(), io::Error::other(error))),
        }
    }
    Err(NoService(tried))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Goal: the first socket with somebody behind it is taken; one that a crash has left is passed over;
    /// without any the message names all that were tried.
    #[test]
    fn the_first_that_answers_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (none, stale, alive) = (path("none"), path("stale"), path("alive"));
        drop(UnixListener::bind(&stale).unwrap());
        let listener = UnixListener::bind(&alive).unwrap();
        listener.set_nonblocking(true).unwrap();
        for paths in [&[&*none, &alive][..], &[&stale, &alive], &[&alive, &none]] {
            connect_first(paths).unwrap();
            listener.accept().expect("it was this one");
        }
        let said = connect_first(&[&none, &stale]).unwrap_err().to_string();
        let parts = [
            format!("cannot connect to {}: No such file", none.display()),
            format!(", nor to {}: Connection refused", stale.display()),
            "; is the server running? --socket and RAID456_SOCKET".to_owned(),
        ];
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }

    /// Goal: a path that was told is the only one that is tried.
    #[test]
    fn a_path_that_was_told_is_the_only_one() {
        let args = SocketArgs { socket: Some("/no/such/socket".into()) };
        let said = args.connect(Duration::ZERO).unwrap_err().to_string();
        assert!(said.contains("/no/such/socket") && !said.contains("nor to"), "{said}");
        let help = clap::Command::new("x");
        let help = SocketArgs::augment_args(help).render_long_help().to_string();
        for path in DEFAULT_PATHS {
            assert!(help.replace('\n', " ").contains(path), "{help}");
        }
    }
}
