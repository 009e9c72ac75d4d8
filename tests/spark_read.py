#!/usr/bin/env python3
"""Spark reads the table that `interop.py --place local --keep` left: spark_read.py FOLDER ROUNDS

Wanted: SPARK_JARS (a comma-separated list with Delta's jars) and Java 17. The last line is like cargo's.
"""

import datetime
import os
import sys
import time

# Spark hands timestamps out in the process' own zone.
os.environ["TZ"] = "UTC"
time.tzset()
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")

import interop  # noqa: E402

SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    # The table is small; the defaults of 50 and 200 would make most of the time overhead.
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
}


def session():
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("tidegate-interop")
    builder = builder.config("spark.jars", os.environ["SPARK_JARS"])
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def plain(name, value):
    if isinstance(value, datetime.datetime) and name == "at":
        value = value.replace(tzinfo=datetime.timezone.utc)
    return interop.plain(name, bytes(value) if isinstance(value, bytearray) else value)


def check_values(table, count):
    rows = [row.asDict(recursive=True) for row in table.select(*interop.TYPES).collect()]
    found = sorted(({n: plain(n, v) for n, v in row.items()} for row in rows), key=lambda row: row["id"])
    wanted = [{n: plain(n, v) for n, v in interop.record(number).items()} for number in range(count)]
    assert len(found) == len(wanted), f"{len(found)} rows instead of {len(wanted)}"
    for one, other in zip(found, wanted):
        assert one == other, f"\nread      {one}\npublished {other}"


def check_rows(table, count):
    from pyspark.sql.functions import col, count_distinct

    distinct = count_distinct(*[col(name) for name in interop.read_table.IDENTITY])
    seen = table.agg(distinct, count_distinct("id")).first()
    assert tuple(seen) == (count, count), tuple(seen)


def check_pruning(table, count):
    """A filter on the event time is answered from the folders, and finds what it should."""
    bound = datetime.datetime(2026, 2, 2)
    wanted = sum(interop.record(number)["at"].replace(tzinfo=None) < bound for number in range(count))
    found = table.where("at < timestamp'2026-02-02 00:00:00'").count()
    assert found == wanted, (found, wanted)


def main():
    folder, count = sys.argv[1], int(sys.argv[2]) * interop.RECORDS_PER_ROUND
    spark = session()
    table = spark.read.format("delta").load(folder)
    results = interop.Results()
    results.run("spark::reads_every_value", check_values, table, count)
    results.run("spark::reads_one_row_per_message", check_rows, table, count)
    results.run("spark::a_filter_on_time_finds_its_rows", check_pruning, table, count)
    spark.stop()
    word = "FAILED" if results.failed else "ok"
    print(f"\ntest result: {word}. {results.passed} passed; {results.failed} failed; 0 ignored")
    sys.exit(1 if results.failed else 0)


if __name__ == "__main__":
    main()
