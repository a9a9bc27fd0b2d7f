//! An address to listen on, as people write it.
//!
//! Not here: listening (`web`).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// Where to listen: a host and a port, or a port of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    text: String,
    addresses: Vec<SocketAddr>,
}

impl Listen {
    /// The addresses that the host has.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// That some text is no address.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no address to listen on: give HOST:PORT, or a PORT of this machine{why}")]
pub struct NoAddress {
    text: String,
    why: String,
}

impl FromStr for Listen {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Ok(port) = text.parse::<u16>() {
            let addresses = vec![(Ipv4Addr::LOCALHOST, port).into()];
            return Ok(Self { text: text.to_owned(), addresses });
        }
        let no = |why: String| NoAddress { text: text.to_owned(), why };
        if text.starts_with(':') {
            return Err(no(" (0.0.0.0 or [::] for every address)".to_owned()));
        }
        let found = text.to_socket_addrs().map_err(|error| no(format!(": {error}")))?;
        match found.collect::<Vec<_>>() {
            none if none.is_empty() => Err(no(": the host has no address".to_owned())),
            addresses => Ok(Self { text: text.to_owned(), addresses }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: addresses are what they look like, and this machine's where they do not say.
    #[test]
    fn addresses_are_understood() {
        for (text, address) in [
            ("9456", "127.0.0.1:9456"),
            ("0", "127.0.0.1:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:9", "[::1]:9"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.addresses(), [address.parse().unwrap()]);
            assert_eq!(listen.to_string(), text);
        }
        let localhost: Listen = "localhost:7".parse().unwrap();
        assert!(localhost.addresses().iter().all(|address| address.ip().is_loopback()));
        for text in ["", ":80", "70000", "localhost", "a b:1", "127.0.0.1:x"] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no address to listen on")), "{error}");
        }
    }
}
