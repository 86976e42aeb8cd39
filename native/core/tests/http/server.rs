//! A server on loopback that does what a test tells it, request by request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

/// What the server sends for the n-th request, and whether it closes then.
pub struct Server {
    port: u16,
    /// The heads of the requests, as they came.
    pub requests: Receiver<String>,
    /// Says that a peer closed a connection that was kept open for it.
    pub closed: Receiver<()>,
}

/// What to do with one request.
pub enum Reply {
    /// Send this and close.
    Send(Vec<u8>),
    /// Send this and wait until the peer closes.
    Hang(Vec<u8>),
}

impl Server {
    /// Starts; each request is answered by the next reply, the last one again and again.
    pub fn new(replies: impl Fn(usize, &str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heads, requests) = channel();
        let (gone, closed) = channel();
        std::thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let head = read_head(&stream);
                let reply = replies(count, &head);
                // The test may have ended.
                let _ = heads.send(head);
                match reply {
                    Reply::Send(bytes) => drop(stream.write_all(&bytes)),
                    Reply::Hang(bytes) => {
                        drop(stream.write_all(&bytes));
                        let gone = gone.clone();
                        std::thread::spawn(move || {
                            drop(stream.read(&mut [0; 1]));
                            let _ = gone.send(());
                        });
                    }
                }
            }
        });
        Self {
            port,
            requests,
            closed,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn heads(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }
}

fn read_head(stream: &TcpStream) -> String {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    loop {
        let before = head.len();
        lines.read_line(&mut head).unwrap();
        if head.len() - before <= 2 {
            return head.to_ascii_lowercase();
        }
    }
}

/// A whole answer.
pub fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = format!("content-length: {}\r\n", body.len());
    head(status, &(headers.to_owned() + &length), body)
}

/// An answer with these headers and no others.
pub fn head(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The offset that a request's range begins at.
pub fn range_of(head: &str) -> Option<usize> {
    let (_, rest) = head.split_once("range: bytes=")?;
    rest.split_once('-')?.0.parse().ok()
}
