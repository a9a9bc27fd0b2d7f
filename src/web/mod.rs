//! What a service shows over HTTP: metrics, health, and a page for people. Nothing can be changed here.
//!
//! | path | what |
//! |---|---|
//! | `/` | the status page, which asks for `/status.json` again and again |
//! | `/status.json` | the same as JSON, in the shape of `raid456_get_status` |
//! | `/metrics` | for Prometheus ([`crate::metrics`]) |
//! | `/healthz` | 200 while every reactor turns, else 503 and which one does not |
//! | `/readyz` | 200 once the configuration is applied, until the end |
//!
//! There is no authentication, so it listens on this machine only unless an address is given.
//!
//! Not here: HTTP (`http`), what is shown (`metrics`, `status`).

mod http;

use std::io;
use std::sync::Arc;

pub use http::{HttpServer, Request, Response, Site};

pub use crate::control::{Listen, NoAddress};

use crate::control::Control;
use crate::metrics::{Exporter, Format, Source};
use crate::status::{self, Status};

const PAGE: &str = include_str!("page.html");

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
#[error("metrics on {listen}: {source}: give another --metrics HOST:PORT")]
pub struct ServeError {
    listen: Listen,
    source: io::Error,
}

/// Shows a service until what is returned is dropped.
///
/// # Errors
///
/// When it cannot listen there.
pub fn serve(
    listen: &Listen,
    control: &Arc<Control>,
    sources: Vec<Arc<dyn Source>>,
) -> Result<HttpServer, ServeError> {
    let exporter = Exporter::new(Arc::clone(control), sources);
    let pages = Pages { control: Arc::clone(control), exporter };
    let server = HttpServer::start(listen.addresses(), Arc::new(pages))
        .map_err(|source| ServeError { listen: listen.clone(), source })?;
    let address = server.address();
    if address.ip().is_loopback() {
        tracing::info!(%address, "metrics and status page");
    } else {
        tracing::warn!(%address, "metrics and status page, for everybody who can reach this address");
    }
    Ok(server)
}

struct Pages {
    control: Arc<Control>,
    exporter: Exporter,
}

impl Pages {
    fn health(&self) -> Response {
        if self.control.reactors_answer() {
            return Response::text(200, "ok");
        }
        let survey = self.control.survey();
        let silent = survey.reactors.iter().filter(|reactor| !reactor.answers);
        let cores: Vec<_> = silent.map(|reactor| reactor.view.core.to_string()).collect();
        Response::text(503, &format!("the reactors on cores {} do not answer", cores.join(", ")))
    }

    fn readiness(&self) -> Response {
        match self.control.is_serving() {
            true => self.health(),
            false => Response::text(503, "starting, or stopping"),
        }
    }

    fn status(&self) -> Response {
        let status: Status = status::of(&self.control);
        match serde_json::to_vec(&status) {
            Ok(body) => Response { status: 200, content_type: "application/json", body },
            Err(error) => Response::text(500, &error.to_string()),
        }
    }
}

impl Site for Pages {
    fn get(&self, request: &Request) -> Response {
        match &*request.path {
            "/" => Response {
                status: 200,
                content_type: "text/html; charset=utf-8",
                body: PAGE.as_bytes().to_vec(),
            },
            "/status.json" => self.status(),
            "/metrics" => {
                let format = Format::negotiate(request.accept.as_deref());
                let body = self.exporter.scrape(format).into_bytes();
                Response { status: 200, content_type: format.content_type(), body }
            }
            "/healthz" => self.health(),
            "/readyz" => self.readiness(),
            _ => Response::text(404, "there are /, /status.json, /metrics, /healthz and /readyz"),
        }
    }
}
