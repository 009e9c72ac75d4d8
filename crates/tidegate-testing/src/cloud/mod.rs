//! Servers that stand in for the object stores of clouds: [`AzureServer`], [`GoogleServer`].

mod azure;
mod google;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub use azure::AzureServer;
pub use google::GoogleServer;

/// Asks a server on loopback; the status and the answer's body. The connection ends with the answer.
async fn ask(
    server: SocketAddr,
    request: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<(u16, String)> {
    let mut text = format!("{request} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n", body.len());
    let mut connection = TcpStream::connect(server).await.context("connect")?;
    connection.write_all(text.as_bytes()).await.context("ask")?;
    connection.write_all(body).await.context("ask")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.context("read the answer")?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.context("the answer has a status")?, body.to_owned()))
}
