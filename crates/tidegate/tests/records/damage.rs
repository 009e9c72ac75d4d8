//! `tidegate verify` finds what somebody did to a table.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_testing::{copy_folder, readers};

use crate::support::{Bench, Pipeline, call, commits};

/// Drops the last row of a Parquet file and keeps everything else of it.
const DROP_ROW: &str = "import sys, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1], partitioning=None)
pq.write_table(table.slice(0, table.num_rows - 1), sys.argv[1])";

fn drop_row(file: &Path) {
    let status =
        std::process::Command::new(readers::python()).args(["-c", DROP_ROW]).arg(file).status();
    assert!(status.unwrap().success());
}

fn commit_path(table: &Path, version: usize) -> PathBuf {
    table.join(format!("_delta_log/{version:020}.json"))
}

/// The version of the last commit that adds files, and the first file that it adds.
fn last_data_commit(table: &Path) -> (usize, Value) {
    let mut found = commits(table).into_iter().enumerate().filter_map(|(version, text)| {
        let actions = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut adds = actions.filter_map(|action| action.get("add").cloned());
        adds.next().map(|add| (version, add))
    });
    found.next_back().expect("a commit adds files")
}

/// Changes every action of one commit.
fn edit_commit(table: &Path, version: usize, mut edit: impl FnMut(&mut Value)) {
    let path = commit_path(table, version);
    let text = fs::read_to_string(&path).unwrap();
    let edited = text.lines().map(|line| {
        let mut action: Value = serde_json::from_str(line).unwrap();
        edit(&mut action);
        action.to_string() + "\n"
    });
    let edited: String = edited.collect();
    assert_ne!(edited, text, "nothing was changed");
    fs::write(path, edited).unwrap();
}

/// Moves a number that the last data commit carries for the partition.
fn move_number(table: &Path, name: &str, by: i64) {
    let (version, _) = last_data_commit(table);
    edit_commit(table, version, |action| {
        let id = action["txn"]["appId"].as_str().unwrap_or_default();
        if id.ends_with(&format!("/0/{name}")) {
            action["txn"]["version"] = json!(action["txn"]["version"].as_i64().unwrap() + by);
        }
    });
}

/// Makes the log agree with a file that lost a row.
fn correct_the_log(table: &Path, version: usize, path: &str) {
    let size = fs::metadata(table.join(path)).unwrap().len();
    edit_commit(table, version, |action| {
        if action["add"]["path"] == path {
            let mut stats: Value =
                serde_json::from_str(action["add"]["stats"].as_str().unwrap()).unwrap();
            stats["numRecords"] = json!(stats["numRecords"].as_i64().unwrap() - 1);
            action["add"]["stats"] = json!(stats.to_string());
            action["add"]["size"] = json!(size);
        }
    });
}

type Damage = fn(&Path);

/// (name, what is done, what the finding says)
const DAMAGES: [(&str, Damage, &str); 15] = [
    ("row-removed", |t| drop_row(&data_file(t)), "\"check\":\"files\""),
    (
        "row-removed-and-log",
        |t| {
            let (version, add) = last_data_commit(t);
            drop_row(&data_file(t));
            correct_the_log(t, version, add["path"].as_str().unwrap());
        },
        "distinct rows",
    ),
    ("file-doubled", double_file, "stands twice"),
    ("file-missing", |t| fs::remove_file(data_file(t)).unwrap(), "is missing"),
    (
        "file-truncated",
        |t| {
            let bytes = fs::read(data_file(t)).unwrap();
            fs::write(data_file(t), &bytes[..bytes.len() - 1]).unwrap();
        },
        "\"check\":\"files\"",
    ),
    (
        "add-removed",
        |t| {
            let (version, add) = last_data_commit(t);
            let path = commit_path(t, version);
            let text = fs::read_to_string(&path).unwrap();
            let kept = text.lines().filter(|line| !line.contains(add["path"].as_str().unwrap()));
            fs::write(&path, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        },
        "distinct rows",
    ),
    ("floor-down", |t| move_number(t, "floor", -1), "\"check\":\"floors\""),
    ("floor-up", |t| move_number(t, "floor", 1), "\"check\":\"floors\""),
    ("read-up", |t| move_number(t, "in", 1), "\"check\":\"conservation\""),
    ("rows-up", |t| move_number(t, "rows", 1), "distinct rows"),
    (
        "rows-for-duplicates",
        |t| {
            move_number(t, "rows", 1);
            move_number(t, "dup", -1);
        },
        "distinct rows",
    ),
    (
        "dead-for-filtered",
        |t| {
            move_number(t, "dead", 1);
            move_number(t, "filtered", -1);
        },
        "\"check\":\"dead letters\"",
    ),
    (
        "dead-letter-removed",
        |t| drop_row(&data_file(&t.join("_dead_letters"))),
        "\"check\":\"files\"",
    ),
    (
        "dead-letter-removed-and-log",
        |t| {
            let dead = t.join("_dead_letters");
            let (version, add) = last_data_commit(&dead);
            drop_row(&data_file(&dead));
            correct_the_log(&dead, version, add["path"].as_str().unwrap());
        },
        "\"check\":\"dead letters\"",
    ),
    (
        "dead-letters-removed",
        |t| fs::remove_dir_all(t.join("_dead_letters")).unwrap(),
        "\"check\":\"dead letters\"",
    ),
];

fn data_file(table: &Path) -> PathBuf {
    let (_, add) = last_data_commit(table);
    table.join(add["path"].as_str().unwrap())
}

/// As a stranger's tool might that copies a file and adds it once more.
fn double_file(table: &Path) {
    let (_, mut add) = last_data_commit(table);
    let name = format!("copy-{}", add["path"].as_str().unwrap());
    fs::copy(data_file(table), table.join(&name)).unwrap();
    add["path"] = json!(name);
    let version = commits(table).len();
    let lines = [json!({"commitInfo": {"operation": "WRITE"}}), json!({"add": add})];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(commit_path(table, version), text).unwrap();
}

async fn damaged_table(bench: &mut Bench) -> Pipeline {
    let pipeline = bench.pipeline("judged").await.set("filter.cel", json!("record.id != 'no'"));
    let subject = pipeline.subject("x");
    for round in ["1", "2"] {
        let ids = ["a", "b", "c"].map(|id| format!("{id}{round}"));
        let mut ids: Vec<_> = ids.iter().map(String::as_str).collect();
        ids.extend(["no", "a1"]);
        bench.publish_ids(&subject, &ids).await;
        bench.publish(&subject, &[("p", "{"), ("q", "[")]).await;
        bench.catch_up(&pipeline).await.expect(0);
    }
    pipeline
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t3_verify_finds_every_kind_of_damage_and_none_where_there_is_none() {
    let mut bench = Bench::start("damage").await;
    let pipeline = damaged_table(&mut bench).await;
    bench.verify(&pipeline).await.expect(0);
    let mut unseen = Vec::new();
    for (name, damage, says) in DAMAGES.iter().chain(&[("untouched", (|_| ()) as Damage, "[]")]) {
        let copy = pipeline.clone().into_table(name);
        copy_folder(&pipeline.table, &copy.table).unwrap();
        damage(&copy.table);
        let verify = call("verify", &copy).argument("--json");
        let ended = bench.end(verify, name).await;
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let expected = if *name == "untouched" { (0, "Ok") } else { (1, "Damaged") };
        let report = answer["report"]["findings"].to_string();
        let seen = ended.code == Some(expected.0)
            && answer["state"] == expected.1
            && answer["pipeline"] == "default/judged"
            && report.contains(says);
        if !seen {
            unseen.push(format!("{name}: {}", ended.output));
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}
