//! `tidegate publish`: lines into the stream of a pipeline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use tidegate_config::PipelineConfig;
use tidegate_source::{
    Connection, PublishOptions, PublishReport, Publisher, ensure_stream, stream_facts,
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::Instant;

use crate::broker::{Broker, BrokerArgs};
use crate::documents::PipelineArgs;
use crate::failure::{Failure, source_failed, worker_failed};
use crate::output::{count, grouped, say};
use crate::signals::Signals;
use crate::subject::{Fields, SubjectTemplate};

/// What `-` stands for; as a file it needs no other way of reading.
const STANDARD_INPUT: &str = "/dev/stdin";
/// Read at once from the input.
const READ_AHEAD: usize = 1 << 20;
/// The input is no lines of text when one is longer; NATS' own limit is 1 MiB unless it is raised.
const LONGEST_LINE: u64 = 64 << 20;

/// Publish each line of a file as a message into the pipeline's stream.
///
/// The stream is made as the pipeline says if it is not there. The number of messages that the broker
/// stored and that it knew already are printed at the end.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    pipelines: PipelineArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    /// The subject; {field} is taken from the line's JSON, `unknown` where it has none
    #[arg(long, value_name = "TEMPLATE")]
    subject: SubjectTemplate,
    /// The field that becomes the Nats-Msg-Id header; lines without it are sent without an id
    #[arg(long, value_name = "FIELD")]
    id_field: Option<String>,
    /// The file, or - for standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Messages a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

/// Publishes every line and says what became of them. Told to stop before the end it says so: whoever takes
/// success for "all of it" would lose the rest.
pub(crate) async fn publish(args: PublishArgs) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let mut config = args.pipelines.load_stream()?.config;
    let data_dir = args.pipelines.changes.absolute_data_dir()?;
    let input = open(&args.input).await?;
    let broker = Broker::provide(&args.broker, &data_dir, std::iter::once(&mut config)).await?;
    let work = publish_to(&args, &config, input, &signals);
    let outcome = signals.leave.run_until_cancelled(work).await;
    broker.stop().await;
    let outcome = outcome.ok_or_else(|| Failure::says("interrupted").interrupted())??;
    say(in_words(outcome.published, &outcome.report))?;
    if outcome.whole {
        return Ok(());
    }
    let what = "told to stop before the end of the input";
    Err(Failure::says(what).interrupted().advising("publish it again: copies have the same ids"))
}

/// What became of the input.
struct Published {
    published: u64,
    report: PublishReport,
    /// Whether its end was reached.
    whole: bool,
}

fn in_words(published: u64, report: &PublishReport) -> String {
    format!(
        "published {}, stored {}, duplicates {}",
        grouped(published),
        grouped(report.stored),
        grouped(report.duplicates)
    )
}

async fn publish_to(
    args: &PublishArgs,
    config: &PipelineConfig,
    input: impl AsyncBufRead + Unpin,
    signals: &Signals,
) -> Result<Published, Failure> {
    let connection = prepared_stream(args, config).await?;
    let mut publisher = Publisher::new(&connection, PublishOptions::default());
    let mut pace = Pace::new(args.rate, Instant::now());
    let mut lines = Lines(input);
    let mut published = 0;
    let whole = loop {
        let next = signals.drain.run_until_cancelled(lines.next()).await;
        let Some(line) = next.transpose().map_err(|error| reading(&args.input, error))? else {
            break false;
        };
        let Some(line) = line else { break true };
        pace.wait().await;
        let (subject, id) = address(args, &line);
        publisher.publish(&subject, line, id.as_deref()).await.map_err(source_failed)?;
        published += 1;
    };
    let report = publisher.finish().await.map_err(source_failed)?;
    if report.stored + report.duplicates != published {
        let missing = published.saturating_sub(report.stored + report.duplicates);
        let missing = count(missing, "message was", "messages were");
        return Err(Failure::says(format!("{missing} not confirmed")).worth_retrying(true));
    }
    Ok(Published { published, report, whole })
}

/// Subject and id of one line.
fn address(args: &PublishArgs, line: &[u8]) -> (String, Option<String>) {
    let fields = Fields::of(line);
    let id = args.id_field.as_deref().and_then(|field| fields.text(field));
    (args.subject.render(&fields), id.filter(|id| is_header_value(id)))
}

/// A header value ends at a line break and is not empty.
fn is_header_value(id: &str) -> bool {
    !id.is_empty() && !id.contains(['\r', '\n'])
}

async fn prepared_stream(
    args: &PublishArgs,
    config: &PipelineConfig,
) -> Result<Connection, Failure> {
    // As the stream's administrator where the pipeline has one, because the stream may have to be made.
    let secrets_dir = args.broker.secrets_dir.as_deref();
    let connection =
        tidegate_worker::connect_as_admin(config, secrets_dir).await.map_err(worker_failed)?;
    let facts = if config.source.subjects.is_empty() {
        stream_facts(&connection, &config.source.stream).await
    } else {
        ensure_stream(&connection, &tidegate_worker::stream_spec(config)).await
    };
    facts.map_err(source_failed)?;
    Ok(connection)
}

async fn open(input: &Path) -> Result<impl AsyncBufRead + Unpin, Failure> {
    let path = if input == Path::new("-") { Path::new(STANDARD_INPUT) } else { input };
    let file = tokio::fs::File::open(path).await.map_err(|error| reading(input, error))?;
    Ok(BufReader::with_capacity(READ_AHEAD, file))
}

fn reading(input: &Path, error: std::io::Error) -> Failure {
    Failure::of(error).during(format!("reading {}", input.display()))
}

/// The lines of an input, as bytes: what is not text is published all the same. Empty lines are no
/// messages.
struct Lines<R>(R);

impl<R: AsyncBufRead + Unpin> Lines<R> {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            let mut line = Vec::new();
            // One more than allowed tells a line of that length from a longer one.
            let mut limited = (&mut self.0).take(LONGEST_LINE + 1);
            if limited.read_until(b'\n', &mut line).await? == 0 {
                return Ok(None);
            }
            if line.len() as u64 > LONGEST_LINE {
                return Err(std::io::Error::other(format!("a line exceeds {LONGEST_LINE} bytes")));
            }
            while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                line.pop();
            }
            if !line.is_empty() {
                return Ok(Some(line.into()));
            }
        }
    }
}

/// Spreads messages over time. Falling behind is made up for, so that the mean is kept.
struct Pace {
    start: Instant,
    rate: Option<u32>,
    sent: u64,
}

impl Pace {
    fn new(rate: Option<u32>, start: Instant) -> Self {
        Self { start, rate, sent: 0 }
    }

    async fn wait(&mut self) {
        if let Some(rate) = self.rate {
            tokio::time::sleep_until(self.start + due(self.sent, rate)).await;
            self.sent += 1;
        }
    }
}

/// When message number `sent` is due after the start.
fn due(sent: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1));
    // Whole seconds apart from the rest, so that nothing overflows.
    let nanos = (sent % rate) * 1_000_000_000 / rate;
    Duration::from_secs(sent / rate) + Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(input: &[u8]) -> Vec<Bytes> {
        let mut lines = Lines(input);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("short lines") {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn each_line_is_a_message_whatever_its_bytes() {
        let lines = lines_of(b"{\"a\": 1}\r\n\n\xff\xfe\n  \nlast").await;
        assert_eq!(lines, [&b"{\"a\": 1}"[..], b"\xff\xfe", b"  ", b"last"]);
        assert!(lines_of(b"\n\n").await.is_empty());
    }

    #[test]
    fn messages_are_due_at_their_share_of_a_second() {
        assert_eq!(due(0, 100), Duration::ZERO);
        assert_eq!(due(1, 100), Duration::from_millis(10));
        assert_eq!(due(250, 100), Duration::from_millis(2_500));
        assert_eq!(due(u64::MAX, u32::MAX).as_secs(), u64::MAX / u64::from(u32::MAX));
    }

    #[test]
    fn an_id_that_cannot_be_a_header_is_left_out() {
        assert!(is_header_value("e-1"));
        assert!(!is_header_value("") && !is_header_value("a\r\nb"));
    }

    #[test]
    fn the_outcome_is_told_in_one_line() {
        let report = PublishReport { stored: 1_234, duplicates: 5, ..PublishReport::default() };
        assert_eq!(in_words(1_239, &report), "published 1,239, stored 1,234, duplicates 5");
    }
}
