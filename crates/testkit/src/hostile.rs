//! A server that answers whatever a test wants, byte by byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What came with it.
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What goes back. The connection is closed behind it.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, as they are.
    Bytes(Vec<u8>),
    /// The first bytes at once, each of the others after a pause.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Nothing for so long.
    Silence(Duration),
}

/// An answer with a status line, headers and the right `Content-Length`.
pub fn reply(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n").into_bytes();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
    }
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    Reply::Bytes(bytes)
}

/// A server that ends when it is dropped.
#[derive(Debug)]
pub struct Hostile {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Hostile {
    /// A server on a port of this machine; `answer` is called for every request, in parallel. It is told its own port.
    pub fn start(answer: impl Fn(u16, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let server = Self { port, requests: Arc::default(), stop: Arc::default() };
        let (requests, stop, answer) = (server.requests.clone(), server.stop.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (requests, stop, answer) = (requests.clone(), stop.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                    write(&stream, answer(port, &request), &stop);
                    let _ = stream.shutdown(Shutdown::Write);
                    // What is unread would become a reset, which takes the answer away.
                    let _ = std::io::copy(&mut (&stream).take(1 << 20), &mut std::io::sink());
                });
            }
        });
        server
    }

    /// `127.0.0.1:port`.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One request; none where something else came, such as a TLS handshake.
fn read(stream: &TcpStream) -> Option<Request> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    if !reader.fill_buf().ok()?.first()?.is_ascii_uppercase() {
        return None;
    }
    let mut line = || {
        let mut line = String::new();
        (&mut reader).take(64 << 10).read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = Vec::new();
    reader.take(length.unwrap_or(0)).read_to_end(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

fn write(mut stream: &TcpStream, reply: Reply, stop: &AtomicBool) {
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes);
        }
        Reply::Drip(first, rest, pause) => {
            if stream.write_all(&first).is_err() {
                return;
            }
            for byte in rest {
                std::thread::sleep(pause);
                if stop.load(Ordering::SeqCst) || stream.write_all(&[byte]).is_err() {
                    return;
                }
            }
        }
        Reply::Silence(time) => std::thread::sleep(time),
    }
}
