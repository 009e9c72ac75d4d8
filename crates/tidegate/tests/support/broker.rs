//! A few words of the NATS protocol: any bytes, any headers, and the stream's sequence as the answer.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A message on its way into a stream.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
}

/// One connection to a broker.
#[derive(Debug)]
pub(crate) struct Broker {
    stream: BufReader<TcpStream>,
    inbox: String,
    asked: u64,
}

impl Outgoing {
    pub(crate) fn new(subject: &str, payload: impl Into<Vec<u8>>) -> Self {
        Self { subject: subject.to_owned(), headers: Vec::new(), payload: payload.into() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn frame(&self, reply: &str) -> Vec<u8> {
        let mut head = "NATS/1.0\r\n".to_owned();
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let total = head.len() + self.payload.len();
        let mut frame =
            format!("HPUB {} {reply} {} {total}\r\n{head}", self.subject, head.len()).into_bytes();
        frame.extend(&self.payload);
        frame.extend(b"\r\n");
        frame
    }
}

impl Broker {
    /// Connects to `nats://host:port`.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let address = url.trim_start_matches("nats://");
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        let mut info = String::new();
        stream.read_line(&mut info).await?;
        ensure!(info.starts_with("INFO "), "no broker: {info}");
        // Several connections of one test must not hear each other's answers.
        let inbox = format!("_INBOX.{}", stream.get_ref().local_addr()?.port());
        let hello =
            format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {inbox}.* 1\r\n");
        stream.get_mut().write_all(hello.as_bytes()).await?;
        Ok(Self { stream, inbox, asked: 0 })
    }

    /// Publishes in order; the sequences that the stream gave them.
    pub(crate) async fn publish(&mut self, messages: &[Outgoing]) -> Result<Vec<u64>> {
        let first = self.asked;
        let mut frames = Vec::new();
        for message in messages {
            frames.extend(message.frame(&format!("{}.{}", self.inbox, self.asked)));
            self.asked += 1;
        }
        self.stream.get_mut().write_all(&frames).await?;
        let mut sequences = BTreeMap::new();
        while sequences.len() < messages.len() {
            let (number, answer) = self.answer().await?;
            let sequence = answer["seq"].as_u64().with_context(|| format!("{answer}"))?;
            if number >= first {
                sequences.insert(number, sequence);
            }
        }
        Ok(sequences.into_values().collect())
    }

    /// One request, such as `$JS.API.STREAM.INFO.X`; an answer that is an error is returned as it is.
    pub(crate) async fn ask(&mut self, subject: &str, body: &Value) -> Result<Value> {
        let number = self.asked;
        self.asked += 1;
        let frame =
            Outgoing::new(subject, body.to_string()).frame(&format!("{}.{number}", self.inbox));
        self.stream.get_mut().write_all(&frame).await?;
        loop {
            let (found, answer) = self.answer().await?;
            if found == number {
                return Ok(answer);
            }
        }
    }

    /// The next answer, with the number of the question.
    async fn answer(&mut self) -> Result<(u64, Value)> {
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line).await? > 0, "the broker hung up");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["PING"] => self.stream.get_mut().write_all(b"PONG\r\n").await?,
                ["INFO", ..] | ["PONG" | "+OK"] => {}
                ["MSG", subject, .., length] => return self.body(subject, 0, length).await,
                ["HMSG", subject, .., head, length] => {
                    return self.body(subject, head.parse()?, length).await;
                }
                _ => bail!("the broker says {line:?}"),
            }
        }
    }

    async fn body(&mut self, subject: &str, head: usize, length: &str) -> Result<(u64, Value)> {
        let length: usize = length.parse()?;
        let mut body = vec![0; length + 2];
        self.stream.read_exact(&mut body).await?;
        let text = &body[head..length];
        let number = subject.rsplit('.').next().context("an inbox has a number")?.parse()?;
        let answer = serde_json::from_slice(text)
            .with_context(|| format!("{subject}: {}", String::from_utf8_lossy(&body)))?;
        Ok((number, answer))
    }
}
