//! As much of an HTTP client as the tests need: one call for one connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::PATIENCE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The refusal's word, after looking that all of it is there.
    pub(crate) fn refusal(&self) -> String {
        let body = self.json();
        for part in ["code", "message", "hint"] {
            assert!(!body[part].as_str().unwrap_or_default().is_empty(), "{body}");
        }
        assert!(self.has("content-type: application/json"), "{}", self.head);
        body["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.head.lines().any(|header| header.eq_ignore_ascii_case(line))
    }
}

/// Opens a connection and sends a request. HTTP/1.0, so that the answer comes as it is and ends with the connection.
pub(crate) async fn open(address: SocketAddr, start: &str, headers: &[&str], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut text = format!("{start} HTTP/1.0\r\n");
    for header in headers {
        text += header;
        text += "\r\n";
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.unwrap();
    stream
}

pub(crate) async fn call(address: SocketAddr, start: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = open(address, start, headers, body).await;
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("an answer in time").unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    call(address, &format!("GET {path}"), &[], "").await
}

pub(crate) async fn post(address: SocketAddr, path: &str, body: &str) -> Answer {
    call(address, &format!("POST {path}"), &["Content-Type: application/json"], body).await
}
