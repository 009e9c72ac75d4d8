#!/usr/bin/env python3
"""Tables that the real binary wrote, read by engines that we did not write.

    interop.py [--place local|s3] [--rounds N] [--keep]

Records of every type go through a real broker in rounds, each with a run of its own, so that the log gets
checkpoints. After the first round and after the last one DuckDB, deltalake and polars must see exactly the
records that were published, value by value. The last line is written like cargo's.
"""

import argparse
import base64
import datetime
import decimal
import json
import os
import shutil
import subprocess
import sys
import traceback

import read_table
import services

FOLDER = services.ROOT / "target/interop"
RECORDS_PER_ROUND = 200
BUCKET = "lake"
TYPES = {
    "id": "string",
    "count": "long",
    "small": "integer",
    "smaller": "short",
    "smallest": "byte",
    "flag": "boolean",
    "price": "decimal(18,2)",
    "ratio": "double",
    "half": "float",
    "day": "date",
    "at": "timestamp",
    "wall": "timestamp_ntz",
    "blob": "binary",
    "geo": "struct<lat: double, place: struct<name: string>>",
    "tags": "list<string>",
    "numbers": "map<string, long>",
    "nothing": "string",
}
TOTAL_LIMIT_SECONDS = 120


def record(number):
    """One record as Python values; every seventh has nulls wherever they are allowed."""
    moment = datetime.datetime(2026, 1, 30, 23, 59, 59, 123_456) + datetime.timedelta(hours=number)
    values = {
        "id": f"r{number:07}",
        "count": number * 10_000_000_019 - 2**40,
        "small": -number,
        "smaller": number % 30_000,
        "smallest": number % 128,
        "flag": number % 2 == 0,
        "price": decimal.Decimal(number * 7 - 500).scaleb(-2),
        "ratio": number / 8,
        "half": number / 4,
        "day": moment.date(),
        "at": moment.replace(tzinfo=datetime.timezone.utc),
        "wall": moment,
        "blob": number.to_bytes(8, "big"),
        "geo": {"lat": number / 16, "place": {"name": f"Zürich {number} 🛬"}},
        "tags": [f"t{tag}" for tag in range(number % 4)],
        "numbers": {f"k{key}": key * number for key in range(number % 3)},
        "nothing": None,
    }
    if number % 7 == 0:
        values |= dict.fromkeys(set(TYPES) - {"id", "at"})
    return values


def as_json(values):
    def convert(value):
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        if isinstance(value, datetime.datetime):
            return value.isoformat().replace("+00:00", "Z")
        return str(value) if isinstance(value, datetime.date) else float(value)

    return json.dumps(values, default=convert, ensure_ascii=False)


def plain(name, value):
    """A value as every engine's answer can be written."""
    if value is None:
        return None
    if name == "numbers":
        pairs = [(pair["key"], pair["value"]) if isinstance(pair, dict) else pair for pair in items(value)]
        return sorted([key, number] for key, number in pairs)
    if name == "at":
        return value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value.quantize(decimal.Decimal("0.01")))
    return value.hex() if isinstance(value, bytes) else value


def items(value):
    return value.items() if isinstance(value, dict) else value


def pipeline(url, nats_url, endpoint):
    """The pipeline's document; JSON is YAML."""
    storage = {"url": url}
    if endpoint:
        storage |= {
            "secretRef": {"name": "store"},
            "s3": {"endpoint": endpoint, "region": "us-east-1", "addressingStyle": "Path"},
        }
    fields = [{"name": name, "type": kind, "required": name in ("id", "at")} for name, kind in TYPES.items()]
    return {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "IngestionPipeline",
        "metadata": {"name": "interop"},
        "spec": {
            "guarantee": "ExactlyOnce",
            "source": {
                "type": "JetStream",
                "jetStream": {"servers": [nats_url], "stream": "INTEROP", "subjects": ["interop.>"]},
            },
            "decode": {"format": "JSON"},
            "schema": {"mode": "Declared", "fields": fields},
            "dedup": {"key": {"type": "Header", "header": "Nats-Msg-Id"}, "window": "1h"},
            "sink": {
                "type": "Delta",
                "storage": storage,
                "partitionBy": [{"field": "at", "transform": "Day"}],
                "flush": {"maxInterval": "2s"},
            },
        },
    }


class Place:
    """A table in one place, and the calls of the binary that fill it."""

    def __init__(self, name, url, nats_url, endpoint):
        self.url = url
        self.folder = FOLDER / name
        self.folder.mkdir(parents=True, exist_ok=True)
        secret = self.folder / "secrets/store"
        secret.mkdir(parents=True, exist_ok=True)
        (secret / "AWS_ACCESS_KEY_ID").write_text(services.ACCESS_KEY)
        (secret / "AWS_SECRET_ACCESS_KEY").write_text(services.SECRET_KEY)
        self.document = self.folder / "pipeline.yaml"
        self.document.write_text(json.dumps(pipeline(url, nats_url, endpoint), indent=2))

    def tidegate(self, subcommand, *arguments):
        secrets = [] if subcommand == "publish" else ["--secrets-dir", str(self.folder / "secrets")]
        command = [services.binary(), subcommand, "-f", str(self.document), *secrets, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOTAL_LIMIT_SECONDS)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def round(self, number):
        messages = self.folder / "messages.ndjson"
        numbers = range(number * RECORDS_PER_ROUND, (number + 1) * RECORDS_PER_ROUND)
        messages.write_text("".join(as_json(record(n)) + "\n" for n in numbers))
        self.tidegate("publish", "--subject", "interop.all", "--id-field", "id", "--input", str(messages))
        self.tidegate("run", "--until-caught-up")

    def has_checkpoint(self):
        if self.url.startswith("s3://"):
            import pyarrow.fs

            info = services.s3_files().get_file_info(f"{self.url[5:]}/_delta_log/_last_checkpoint")
            return info.type == pyarrow.fs.FileType.File
        return os.path.exists(f"{self.url.removeprefix('file://')}/_delta_log/_last_checkpoint")


def check_values(engine, url, count):
    """Exactly the published records, value by value."""
    rows = read_table.ENGINES[engine]().read(url, list(TYPES)).to_pylist()
    found = sorted(({n: plain(n, v) for n, v in row.items()} for row in rows), key=lambda row: row["id"])
    wanted = [{n: plain(n, v) for n, v in record(number).items()} for number in range(count)]
    assert len(found) == len(wanted), f"{len(found)} rows instead of {len(wanted)}"
    for one, other in zip(found, wanted):
        assert one == other, f"\nread      {one}\npublished {other}"


def check_rows(engine, url, count):
    """One row per message, and no dead letters."""
    seen = read_table.describe(url, engine)
    counts = (seen["rows"], seen["distinct_ids"], seen["distinct_identities"], seen["dead_letters"]["rows"])
    assert counts == (count, count, count, 0), counts


class Results:
    def __init__(self):
        self.passed = self.failed = 0

    def run(self, name, check, *arguments):
        try:
            check(*arguments)
        except Exception:
            self.failed += 1
            traceback.print_exc()
            print(f"test {name} ... FAILED", flush=True)
        else:
            self.passed += 1
            print(f"test {name} ... ok", flush=True)


def read_by_everyone(results, place, name, when, count):
    for engine in sorted(read_table.ENGINES):
        results.run(f"{name}::{engine}_reads_every_value_{when}", check_values, engine, place.url, count)
        results.run(f"{name}::{engine}_reads_one_row_per_message_{when}", check_rows, engine, place.url, count)


def has_checkpoint(place):
    assert place.has_checkpoint(), "no _last_checkpoint"


def run_place(results, name, url, nats_url, endpoint, rounds):
    place = Place(name, url, nats_url, endpoint)
    place.round(0)
    read_by_everyone(results, place, name, "after_the_first_commits", RECORDS_PER_ROUND)
    for number in range(1, rounds):
        place.round(number)
    results.run(f"{name}::the_log_has_a_checkpoint", has_checkpoint, place)
    read_by_everyone(results, place, name, "after_checkpoints", rounds * RECORDS_PER_ROUND)
    results.run(f"{name}::verify_finds_nothing", place.tidegate, "verify", "--source")


def run_local(results, rounds):
    with services.nats(FOLDER / "local/nats") as nats_url:
        run_place(results, "local", f"file://{FOLDER}/local/table", nats_url, None, rounds)


def run_s3(results, rounds):
    with services.nats(FOLDER / "s3/nats") as nats_url, services.s3(FOLDER / "s3/weed", BUCKET) as endpoint:
        run_place(results, "s3", f"s3://{BUCKET}/table", nats_url, endpoint, rounds)


PLACES = {"local": run_local, "s3": run_s3}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--place", choices=PLACES, action="append")
    parser.add_argument("--rounds", type=int, default=12, help="runs per place; a run makes two commits or more")
    parser.add_argument("--keep", action="store_true", help="leave target/interop as it is at the end")
    given = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    results = Results()
    for place in given.place or PLACES:
        # Failing to fill the table is one failure, not the end of the other place.
        try:
            PLACES[place](results, given.rounds)
        except Exception:
            results.failed += 1
            traceback.print_exc()
            print(f"test {place} ... FAILED", flush=True)
    if not given.keep and not results.failed:
        shutil.rmtree(FOLDER)
    word = "FAILED" if results.failed else "ok"
    print(f"\ntest result: {word}. {results.passed} passed; {results.failed} failed; 0 ignored")
    sys.exit(1 if results.failed else 0)


if __name__ == "__main__":
    main()
