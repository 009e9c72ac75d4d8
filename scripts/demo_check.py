#!/usr/bin/env python3
"""Reads the demo's table with other engines and compares it with the source: demo_check.py FOLDER URL

Every number is asserted; the answer that DuckDB gives from the table must be the one that pandas computes
from the package's file.
"""

import json
import pathlib
import re
import sys

import flights

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
import read_table  # noqa: E402

# pipeline.yaml asks for files of at most 512 KiB; estimates may miss by a fifth. A year has 13 months in
# UTC, about a megabyte each, and a commit closes its files every few seconds.
LARGEST_FILE = 615 * 1024
MOST_FILES = 130
QUESTION = "Which month was the worst to leave from each of New York's airports?"
ASK = """
    WITH months AS (
        SELECT origin, month, count(dep_delay) AS flown, avg(dep_delay) AS delay,
               100.0 * count(*) FILTER (dep_delay IS NULL) / count(*) AS cancelled
        FROM delta_scan('{url}') GROUP BY ALL
    )
    SELECT origin, month, flown, delay, cancelled FROM months
    QUALIFY row_number() OVER (PARTITION BY origin ORDER BY delay DESC) = 1 ORDER BY origin
"""
MONTHS = "January February March April May June July August September October November December".split()


def same(what, found, wanted):
    if found != wanted:
        sys.exit(f"demo: {what}: {found!r} instead of {wanted!r}")


def published(log):
    """The counts that `tidegate publish` printed."""
    counts = re.search(r"published ([\d,]+), stored ([\d,]+), duplicates ([\d,]+)", log.read_text())
    if not counts:
        sys.exit(f"demo: no counts in {log}")
    return tuple(int(count.replace(",", "")) for count in counts.groups())


def check_published(folder, expected):
    """All reached the stream: the broker's own window had passed when copies were sent."""
    again = expected["duplicates"] + expected["corrected"]
    same("published", published(folder / "publish.log"), (expected["published"],) * 2 + (0,))
    same("sent again", published(folder / "resend.log"), (again, again, 0))
    return expected["published"] + again


def check_table(url, expected):
    """What each engine sees."""
    for engine in sorted(read_table.ENGINES):
        seen = read_table.describe(url, engine)
        if seen is None:
            sys.exit(f"demo: no table at {url}")
        same(f"{engine}: rows", seen["rows"], expected["flights"])
        same(f"{engine}: different ids", seen["distinct_ids"], expected["flights"])
        same(f"{engine}: different messages", seen["distinct_identities"], expected["flights"])
        same(f"{engine}: dead letters", seen["dead_letters"]["reasons"], expected["reasons"])
        same(f"{engine}: folders", seen["partition_columns"], ["time_hour_month"])
        print(f"{engine:>9} reads {seen['rows']:,} rows, each of them once")
    if seen["largest_file"] > LARGEST_FILE or seen["files"] > MOST_FILES:
        sys.exit(f"demo: {seen['files']} files, the largest of {seen['largest_file']} bytes")
    return seen


def check_values(url):
    """Every column has the sum and the nulls of the source's column."""
    import pandas

    source = pandas.read_csv(flights.source_file())
    connection = read_table.duckdb_connection()
    for column in source.columns.drop("time_hour"):
        number = pandas.api.types.is_numeric_dtype(source[column])
        total = f'sum("{column}")' if number else f'sum(length("{column}"))'
        found = connection.execute(f'SELECT count("{column}"), {total} FROM delta_scan(\'{url}\')').fetchone()
        values = source[column] if number else source[column].str.len()
        same(f"{column}: values and sum", tuple(map(int, found)), (int(values.count()), int(values.sum())))
    hours = connection.execute(f"SELECT sum(epoch(time_hour))::BIGINT FROM delta_scan('{url}')").fetchone()[0]
    wanted = pandas.to_datetime(source["time_hour"]).map(pandas.Timestamp.timestamp).sum()
    same("time_hour: sum", int(hours), int(wanted))
    print(f"all {len(source.columns)} columns carry the values of the source file")
    return source, connection


def answer_from_source(source):
    months = source.groupby(["origin", "month"])
    table = months.agg(flown=("dep_delay", "count"), delay=("dep_delay", "mean"), all=("dep_delay", "size"))
    table["cancelled"] = 100.0 * (table["all"] - table["flown"]) / table["all"]
    worst = table.loc[table.groupby("origin")["delay"].idxmax()].sort_index()
    return [(origin, month, row.flown, row.delay, row.cancelled) for (origin, month), row in worst.iterrows()]


def rounded(answer):
    """Sums of floats differ in their last bits with the order of the rows."""
    return [
        (origin, int(month), int(flown), round(delay, 6), round(cancelled, 6))
        for origin, month, flown, delay, cancelled in answer
    ]


def check_answer(url, source, connection):
    from_table = rounded(connection.execute(ASK.format(url=url)).fetchall())
    same("the answer", from_table, rounded(answer_from_source(source)))
    print(f"\n{QUESTION}")
    for origin, month, flown, delay, cancelled in from_table:
        print(f"  {origin}: {MONTHS[month - 1]}: {delay:.1f} minutes late on average over {flown:,} flights, "
              f"{cancelled:.1f} % cancelled")
    print("DuckDB says so from the table, pandas from the source file.")


def main():
    folder, url = pathlib.Path(sys.argv[1]), sys.argv[2]
    expected = json.loads((folder / "expected.json").read_text())
    messages = check_published(folder, expected)
    seen = check_table(url, expected)
    source, connection = check_values(url)
    check_answer(url, source, connection)
    print(f"\n{messages:,} messages = {seen['rows']:,} rows + {expected['duplicates']:,} duplicates dropped"
          f" + {seen['dead_letters']['rows']} dead letters")
    same("the sum", messages, seen["rows"] + expected["duplicates"] + expected["dead_letters"])
    print(f"{seen['files']} files of {seen['smallest_file'] / 1024:.0f} to {seen['largest_file'] / 1024:.0f} KiB, "
          f"{seen['bytes'] / 1e6:.1f} MB in all; table version {seen['version']}")
    print("dead letters: " + ", ".join(f"{count} {reason}" for reason, count in sorted(expected["reasons"].items())))


if __name__ == "__main__":
    main()
