//! Files that are named for their time.

use tidegate_config::FileFormat;

use super::{ask, memory, open_in, put};
use crate::{ExtractError, ReadRequest};

/// Which files of June 2026, one a day, are those of an interval.
async fn files_of(
    glob: &str,
    interval: &str,
    time_zone: Option<&str>,
) -> Result<Vec<String>, ExtractError> {
    let store = memory();
    for day in 1..=30 {
        put(&store, &format!("in/dt=2026-06-{day:02}/a.csv"), "id\n1\n").await;
    }
    let ask = ask(FileFormat::Csv, glob).fields(&["id: long"]);
    let request = ReadRequest {
        interval: Some(interval.parse().unwrap()),
        time_zone: time_zone.map(str::to_owned),
        ..ask.request()
    };
    let files = open_in(store, ask.source.clone(), request).await?;
    Ok(files.files.iter().map(|file| file.path[11..16].to_owned()).collect())
}

#[tokio::test]
async fn those_of_every_day_of_the_interval_are_listed_on_the_schedules_clock() {
    let all = "in/dt=%Y-%m-%d/*.csv";
    for (glob, interval, zone, wanted) in [
        (all, "2026-06-05T06:00:00Z/2026-06-08T06:00:00Z", None, vec!["06-05", "06-06", "06-07"]),
        (all, "2026-06-05T15:00:00Z/2026-06-06T15:00:00Z", Some("Asia/Seoul"), vec!["06-06"]),
        (all, "2026-06-05T15:00:00Z/2026-06-06T15:00:00Z", None, vec!["06-05"]),
        (
            "in/*%Y-%m-%d/{a,b}.csv",
            "2026-06-29T00:00:00Z/2026-07-02T00:00:00Z",
            Some("UTC"),
            vec!["06-29", "06-30"],
        ),
    ] {
        assert_eq!(files_of(glob, interval, zone).await.unwrap(), wanted, "{glob} of {interval}");
    }
    let hour = files_of(all, "2026-06-05T06:00:00Z/2026-06-05T07:00:00Z", None).await;
    assert!(hour.unwrap_err().to_string().contains("no day of its own"));
}
