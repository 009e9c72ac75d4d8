//! Answers to listings, looked at before they are believed.
//!
//! The client reads any XML as a listing and takes what is not there for nothing: an error that a gateway sends
//! as a success, a portal's page or half an answer would be "no files". So what says of itself neither that it is a
//! listing nor whether it goes on is made an error of the connection, which the client repeats.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use thiserror::Error;

/// A page has at most a thousand keys of a kibibyte, each character of which may be written as six.
const LARGEST: usize = 32 << 20;
/// How much of an answer a message shows.
const SHOWN: usize = 80;

/// Makes clients that look at the listings of S3's protocol, by what servers say in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LooksAtListings {
    /// Whether there is more, always.
    OfS3,
    /// That, or how many keys there are: Google says both, its stand-in for tests the latter.
    OfGoogle,
}

impl HttpConnector for LooksAtListings {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Looking { client, at: *self }))
    }
}

#[derive(Debug)]
struct Looking {
    client: HttpClient,
    at: LooksAtListings,
}

impl HttpService for Looking {
    fn call<'a, 'c>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'c, Result<HttpResponse, HttpError>>
    where
        'a: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let server = asks_for_a_listing(&request).then(|| server_of(&request));
            let response = self.client.execute(request).await?;
            match server {
                Some(server) if response.status().is_success() => self.look(response, server).await,
                _ => Ok(response),
            }
        })
    }
}

fn asks_for_a_listing(request: &HttpRequest) -> bool {
    let mut parameters = request.uri().query().unwrap_or_default().split('&');
    request.method().as_str() == "GET" && parameters.any(|one| one == "list-type=2")
}

fn server_of(request: &HttpRequest) -> String {
    let (host, port) = (request.uri().host().unwrap_or_default(), request.uri().port_u16());
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Looking {
    /// The same answer, once it was found to be a listing.
    async fn look(&self, answer: HttpResponse, server: String) -> Result<HttpResponse, HttpError> {
        let (parts, body) = answer.into_parts();
        let body = whole(body, &server).await?;
        match flaw(&body, self.at) {
            None => Ok(HttpResponse::from_parts(parts, body.into())),
            Some(flaw) => {
                let beginning = beginning(&body);
                Err(passing(NoListing::Flawed { server, flaw, beginning }))
            }
        }
    }
}

async fn whole(body: HttpResponseBody, server: &str) -> Result<Bytes, HttpError> {
    let mut whole = BytesMut::new();
    let mut pieces = body.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        if whole.len() + piece.len() > LARGEST {
            return Err(passing(NoListing::Endless { server: server.to_owned() }));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// An error after which the client asks again.
fn passing(error: NoListing) -> HttpError {
    HttpError::new(HttpErrorKind::Interrupted, error)
}

/// What came instead of a listing.
#[derive(Debug, Error)]
enum NoListing {
    #[error(
        "{server} answers a listing with something else: {flaw}; see what stands between, it begins with {beginning:?}"
    )]
    Flawed { server: String, flaw: &'static str, beginning: String },
    #[error("{server} answers a listing with more than {} MiB; see what stands between", LARGEST >> 20)]
    Endless { server: String },
}

fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned()
}

/// What is wrong with a listing; none when it says what one has to say. Keys have no `<`, so that tags may be
/// looked for as text.
fn flaw(body: &[u8], at: LooksAtListings) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(body) else { return Some("it is not UTF-8") };
    let Some(listing) = root(text).strip_prefix("<ListBucketResult") else {
        return Some("it is no ListBucketResult");
    };
    if !listing.starts_with(|next: char| next.is_whitespace() || next == '>') {
        return Some("it is no ListBucketResult");
    }
    if !listing.trim_end().ends_with("</ListBucketResult>") {
        return Some("its end is missing");
    }
    match element(listing, "<IsTruncated>").map(str::to_ascii_lowercase).as_deref() {
        Some("false") => None,
        Some("true") => {
            let next = element(listing, "<NextContinuationToken>");
            next.is_none_or(str::is_empty).then_some("it goes on and does not say where")
        }
        None if at == LooksAtListings::OfGoogle && element(listing, "<KeyCount>").is_some() => None,
        _ => Some("it does not say whether it goes on"),
    }
}

/// The text from the first element on, behind what XML may begin with.
fn root(text: &str) -> &str {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    for (begin, end) in [("<?", "?>"), ("<!--", "-->")] {
        while let Some(behind) = rest.strip_prefix(begin).and_then(|rest| rest.split_once(end)) {
            rest = behind.1.trim_start();
        }
    }
    rest
}

/// The text of the first element of this name.
fn element<'a>(listing: &'a str, begin: &str) -> Option<&'a str> {
    let (_, behind) = listing.split_once(begin)?;
    behind.split_once('<').map(|(text, _)| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_say_that_it_is_a_whole_listing_is_none() {
        const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
        let listing = |inside: &str| {
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult {NAMESPACE}><Name>lake</Name>{inside}</ListBucketResult>\n"
            )
        };
        let file = "<Contents><Key>a&lt;IsTruncated&gt;</Key></Contents>";
        for (body, flawed) in [
            (listing("<IsTruncated>false</IsTruncated>"), false),
            (listing(&format!("{file}<KeyCount>1</KeyCount><IsTruncated> False </IsTruncated>")), false),
            (listing(&format!("<IsTruncated>true</IsTruncated>{file}<NextContinuationToken>t</NextContinuationToken>")), false),
            // A page after the first may be empty.
            (listing("<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>"), false),
            ("\u{feff}<!-- x --><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".into(), false),
            (listing(file), true),
            (listing("<IsTruncated>true</IsTruncated>"), true),
            (listing("<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>"), true),
            (listing("<IsTruncated>true</IsTruncated><NextContinuationToken/>"), true),
            (listing("<IsTruncated/>"), true),
            (listing("<IsTruncated>perhaps</IsTruncated>"), true),
            ("<ListBucketResult/>".into(), true),
            ("<ListBucketResults><IsTruncated>false</IsTruncated></ListBucketResults>".into(), true),
            ("<ListBucketResult><IsTruncated>false</IsTruncated>".into(), true),
            ("<Error><Code>InternalError</Code><IsTruncated>false</IsTruncated></Error>".into(), true),
            ("<html>login</html>".into(), true),
            ("<?xml".into(), true),
            (String::new(), true),
        ] {
            for at in [LooksAtListings::OfS3, LooksAtListings::OfGoogle] {
                let found = flaw(body.as_bytes(), at);
                assert_eq!(found.is_some(), flawed, "{body}: {found:?}");
            }
        }
        assert!(flaw(b"\xff", LooksAtListings::OfS3).is_some());
        let counted = listing(&format!("<KeyCount>1</KeyCount>{file}"));
        assert!(flaw(counted.as_bytes(), LooksAtListings::OfS3).is_some());
        assert!(flaw(counted.as_bytes(), LooksAtListings::OfGoogle).is_none());
    }
}
