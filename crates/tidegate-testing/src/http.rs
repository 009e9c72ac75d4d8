//! As much of HTTP/1.1 as a proxy in front of an object store needs: requests are read whole, answers
//! are handed on as they come. Bytes are kept as they were, because requests are signed. The same serves to
//! ask a server on loopback one thing.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    copy,
};
use tokio::net::TcpStream;

/// Object stores' heads are below one KiB; signed ones with metadata stay below this.
const MAX_HEAD: usize = 64 << 10;
/// Parts of uploads are 5 to 16 MiB; more is a fault of the test.
const MAX_BODY: usize = 256 << 20;

/// The first line and the headers, of a request or an answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    first_line: String,
    headers: Vec<(String, String)>,
}

/// A request with its body.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    pub(crate) head: Head,
    without_body: bool,
    upstream: BufReader<TcpStream>,
}

/// Asks a server on loopback over a connection of its own: status and body. What the answer has of a body
/// is given as it came, also when it ends early or the server did not want the whole of ours.
///
/// # Errors
///
/// When nobody listens or there is no answer.
pub async fn ask_http(
    server: SocketAddr,
    (method, target): (&str, &str),
    headers: &[(String, String)],
    body: &[u8],
) -> Result<(u16, String)> {
    let request = Request::new(server, (method, target), headers, body);
    request.send(server).await?.read().await
}

impl Head {
    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let first_line = lines.next().ok_or_else(|| malformed("no first line"))?.to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').ok_or_else(|| malformed("no colon"))?;
                Ok((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<Result<_>>()?;
        Ok(Self { first_line, headers })
    }

    /// The n-th word of the first line.
    fn word(&self, index: usize) -> &str {
        self.first_line.split(' ').nth(index).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    /// An answer's status; zero when it has none.
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn content_length(&self) -> Result<Option<usize>> {
        let length = self.header("content-length").map(str::parse).transpose();
        length.map_err(|_| malformed("content-length is no number"))
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.contains("chunked"))
    }

    /// The bytes, with the `connection` header replaced: it is about one hop, and is not signed.
    fn to_bytes(&self, close: bool) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first_line);
        for (name, value) in &self.headers {
            let about_one_hop = ["connection", "expect"];
            if !about_one_hop.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        text += if close { "connection: close\r\n\r\n" } else { "\r\n" };
        text.into_bytes()
    }
}

impl Request {
    fn new(
        host: SocketAddr,
        (method, target): (&str, &str),
        headers: &[(String, String)],
        body: &[u8],
    ) -> Self {
        let first_line = format!("{method} {target} HTTP/1.1");
        let own = [("host", host.to_string()), ("content-length", body.len().to_string())];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let headers = own.into_iter().chain(headers.iter().cloned()).collect();
        Self { head: Head { first_line, headers }, body: body.to_vec() }
    }

    /// The next request on a connection; none when the client has closed it.
    pub(crate) async fn read<S>(client: &mut BufReader<S>) -> Result<Option<Self>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(head) = read_head(client).await? else { return Ok(None) };
        if head.header("expect").is_some() {
            client.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = if head.is_chunked() {
            read_chunks(client).await?
        } else {
            read_exactly(client, head.content_length()?.unwrap_or(0)).await?
        };
        Ok(Some(Self { head, body }))
    }

    /// Sends the request over a connection of its own and reads the answer's head.
    pub(crate) async fn send(&self, upstream: SocketAddr) -> Result<Answer> {
        let mut upstream = BufReader::new(TcpStream::connect(upstream).await?);
        upstream.write_all(&self.head.to_bytes(true)).await?;
        // A server that refuses the body may not read it to its end: then its answer counts.
        _ = upstream.write_all(&self.body).await;
        let mut head = next_head(&mut upstream).await?;
        while (100..200).contains(&head.status()) {
            head = next_head(&mut upstream).await?;
        }
        let without_body = self.head.method() == "HEAD" || matches!(head.status(), 204 | 304);
        Ok(Answer { head, without_body, upstream })
    }
}

impl Answer {
    /// Hands the answer on, at most `body_limit` bytes of its body. Says whether the connection can
    /// carry another request.
    pub(crate) async fn relay<W>(mut self, client: &mut W, body_limit: Option<u64>) -> Result<bool>
    where
        W: AsyncWrite + Unpin,
    {
        let length = self.head.content_length()?;
        let ends_by_itself = self.without_body || length.is_some() || self.head.is_chunked();
        client.write_all(&self.head.to_bytes(!ends_by_itself)).await?;
        if !self.without_body {
            // Upstream closes after each answer, so what is not counted ends with the connection.
            let whole = length.map_or(u64::MAX, |length| length as u64);
            let wanted = body_limit.map_or(whole, |limit| limit.min(whole));
            let copied = copy(&mut (&mut self.upstream).take(wanted), client).await?;
            if length.is_some() && copied < wanted {
                return Err(malformed("the answer ended early"));
            }
        }
        client.flush().await?;
        Ok(ends_by_itself && body_limit.is_none())
    }

    /// The status, and the body as text as far as it comes.
    async fn read(mut self) -> Result<(u16, String)> {
        let mut body = Vec::new();
        if !self.without_body {
            let length = self.head.content_length()?.map_or(u64::MAX, |length| length as u64);
            let read = (&mut self.upstream).take(length).read_to_end(&mut body).await;
            // Whoever hangs up in the middle has said what counts before.
            if body.is_empty() {
                read?;
            }
        }
        Ok((self.head.status(), String::from_utf8_lossy(&body).into_owned()))
    }

    /// Reads the answer to its end and throws it away; what it was about has then happened.
    pub(crate) async fn discard(mut self) -> Result<()> {
        if !self.without_body {
            let length = self.head.content_length()?.map_or(u64::MAX, |length| length as u64);
            copy(&mut (&mut self.upstream).take(length), &mut tokio::io::sink()).await?;
        }
        Ok(())
    }
}

/// An answer of the proxy's own, in the words of S3; a success carries what clients want of a write.
pub(crate) fn error_answer(status: u16) -> Vec<u8> {
    let code = match status {
        200..300 => "OK",
        404 => "NoSuchKey",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        429 | 503 => "SlowDown",
        _ => "InternalError",
    };
    let body = format!("<Error><Code>{code}</Code><Message>injected by a test</Message></Error>");
    own_answer(status, code, &body)
}

/// An answer of our own.
pub(crate) fn own_answer(status: u16, words: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} {words}\r\ncontent-type: application/xml\r\netag: \"injected\"\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn next_head<S: AsyncRead + Unpin>(from: &mut BufReader<S>) -> Result<Head> {
    read_head(from).await?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

async fn read_head<S: AsyncRead + Unpin>(from: &mut BufReader<S>) -> Result<Option<Head>> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        if read_line(from, &mut bytes, MAX_HEAD).await? == 0 {
            return if before == 0 { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        if before > 0 && bytes[before..].trim_ascii().is_empty() {
            let text = String::from_utf8_lossy(&bytes[..before]).into_owned();
            return Head::parse(&text).map(Some);
        }
    }
}

/// The chunks as they are, framing included: the store reads them again.
async fn read_chunks<S: AsyncRead + Unpin>(from: &mut BufReader<S>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        read_line(from, &mut bytes, MAX_BODY).await?;
        let line = String::from_utf8_lossy(&bytes[before..]).into_owned();
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| malformed("no chunk size"))?;
        if size == 0 {
            break;
        }
        let chunk_and_line_end = size.checked_add(2).ok_or_else(|| malformed("huge chunk"))?;
        bytes.extend(read_exactly(from, chunk_and_line_end).await?);
    }
    // Trailers, up to an empty line.
    loop {
        let before = bytes.len();
        let read = read_line(from, &mut bytes, MAX_BODY).await?;
        if read == 0 || bytes[before..].trim_ascii().is_empty() {
            return Ok(bytes);
        }
    }
}

async fn read_exactly<S: AsyncRead + Unpin>(from: &mut S, length: usize) -> Result<Vec<u8>> {
    if length > MAX_BODY {
        return Err(malformed("the body is larger than any part of an upload"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

async fn read_line<R>(from: &mut R, into: &mut Vec<u8>, limit: usize) -> Result<usize>
where
    R: AsyncBufRead + Unpin,
{
    let read = from.take((limit + 1) as u64).read_until(b'\n', into).await?;
    if into.len() > limit {
        return Err(malformed("longer than this proxy reads"));
    }
    Ok(read)
}

fn malformed(problem: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> Result<Option<Request>> {
        let (client, mut other) = tokio::io::duplex(1 << 20);
        other.write_all(text.as_bytes()).await.unwrap();
        other.shutdown().await.unwrap();
        Request::read(&mut BufReader::new(client)).await
    }

    #[tokio::test]
    async fn a_request_is_read_with_its_counted_body() {
        let request =
            read("PUT /a?b=c HTTP/1.1\r\nContent-Length: 3\r\nx: y:z\r\n\r\nabcNEXT").await;
        let request = request.unwrap().unwrap();
        assert_eq!((request.head.method(), request.head.target()), ("PUT", "/a?b=c"));
        assert_eq!((request.head.header("X"), &request.body[..]), (Some("y:z"), &b"abc"[..]));
    }

    #[tokio::test]
    async fn chunks_are_kept_with_their_framing() {
        let chunks = "3;ext=1\r\nabc\r\n0\r\ntrailer: 1\r\n\r\n";
        let text = format!("PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(read(&text).await.unwrap().unwrap().body, chunks.as_bytes());
    }

    #[tokio::test]
    async fn a_closed_connection_is_no_request_and_half_a_head_is_an_error() {
        assert!(read("").await.unwrap().is_none());
        assert!(read("PUT / HTTP/1.1\r\nhost").await.is_err());
        assert!(read("PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc").await.is_err());
        assert!(read("PUT / HTTP/1.1\r\ncontent-length: x\r\n\r\n").await.is_err());
        assert!(read(&"x".repeat(MAX_HEAD + 10)).await.is_err());
    }

    #[tokio::test]
    async fn a_server_is_asked_one_thing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let answering = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut client = BufReader::new(stream);
            let request = Request::read(&mut client).await.unwrap().unwrap();
            let answer = b"HTTP/1.1 201 Made\r\ncontent-length: 2\r\n\r\nok and more";
            client.get_mut().write_all(answer).await.unwrap();
            request
        };
        let headers = [("x".to_owned(), "y".to_owned())];
        let asking = ask_http(server, ("PUT", "/a?b"), &headers, b"body");
        let (request, answer) = tokio::join!(answering, asking);
        assert_eq!((request.head.method(), request.head.target()), ("PUT", "/a?b"));
        assert_eq!((request.head.header("X"), &request.body[..]), (Some("y"), &b"body"[..]));
        assert_eq!(answer.unwrap(), (201, "ok".to_owned()));
    }

    #[test]
    fn headers_about_one_hop_are_not_handed_on() {
        let text = "GET / HTTP/1.1\r\nConnection: keep-alive\r\nHost: h\r\n";
        let bytes = Head::parse(text).unwrap().to_bytes(true);
        let wanted = "GET / HTTP/1.1\r\nHost: h\r\nconnection: close\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    }
}
