//! The server against clients that behave, and clients that do not.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// Gives back the path and what is accepted.
struct Echo;

impl Site for Echo {
    fn get(&self, request: &Request) -> Response {
        match &*request.path {
            "/large" => Response { body: vec![b'x'; 8 << 20], ..Response::text(200, "") },
            _ => Response::text(200, &format!("{} {:?}", request.path, request.accept)),
        }
    }
}

fn server() -> HttpServer {
    HttpServer::start(&[(Ipv4Addr::LOCALHOST, 0).into()], Arc::new(Echo)).unwrap()
}

fn connect(server: &HttpServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn exchange(server: &HttpServer, request: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Goal: whatever is sent has an answer with the right status, and its length.
#[test]
fn every_request_has_its_answer() {
    let server = server();
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HTTP_HEAD_BYTES_MAX));
    for (request, status, body) in [
        ("GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "/a None\n"),
        (
            "GET / HTTP/1.0\r\nACCEPT:  t/x ; q=1\r\naccept: u/y\r\n\r\n",
            "200 OK",
            "/ Some(\"t/x ; q=1,u/y\")\n",
        ),
        ("HEAD /a HTTP/1.1\r\n\r\n", "200 OK", ""),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed", "only GET"),
        ("GET http://x/ HTTP/1.1\r\n\r\n", "400 Bad Request", ""),
        ("GET / HTTP/2\r\n\r\n", "400 Bad Request", ""),
        ("GET /\r\n\r\n", "400 Bad Request", ""),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "400 Bad Request", ""),
        (&long, "431 Request Header Fields Too Large", ""),
    ] {
        let answer = exchange(&server, request.as_bytes());
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
        assert!(rest.starts_with(body), "{request}: {answer}");
        assert!(head.contains("Connection: close"), "{answer}");
        assert_eq!(head.contains("Allow: GET, HEAD"), status.starts_with("405"));
        let length = head.split("Content-Length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        assert!(rest.len() == length || request.starts_with("HEAD"), "{answer}");
    }
    let garbage = exchange(&server, b"\xff\xfe\r\n\r\n");
    assert!(garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
}

/// Goal: a request may come byte by byte, and a long answer is taken as slowly as the client likes.
#[test]
fn slow_clients_are_served() {
    let server = server();
    let mut stream = connect(&server);
    for byte in b"GET /large HTTP/1.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut total = 0;
    let mut bytes = vec![0; 1 << 20];
    loop {
        match stream.read(&mut bytes).unwrap() {
            0 => break,
            count => total += count,
        }
    }
    assert!(total > 8 << 20, "{total}");
}

/// Goal: clients that say nothing keep nobody out. Method: twice as many as there is room for, which never
/// send a whole head; then one that does.
#[test]
fn silent_clients_keep_nobody_out() {
    let server = server();
    let silent: Vec<_> = (0..2 * HTTP_CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = connect(&server);
            // The oldest may have been let go of already.
            let _ = stream.write_all(b"GET / HTTP/1.1\r\n");
            stream
        })
        .collect();
    let answer = exchange(&server, b"GET /here HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    // The first ones were let go of.
    let mut rest = Vec::new();
    let mut first = silent.into_iter().next().unwrap();
    match first.read_to_end(&mut rest) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Goal: a server that is dropped is gone, with its port.
#[test]
fn a_dropped_server_is_gone() {
    let server = server();
    let address = server.address();
    let _silent = connect(&server);
    drop(server);
    TcpListener::bind(address).unwrap();
}
