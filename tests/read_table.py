#!/usr/bin/env python3
"""Reads a Delta table with engines that Tidegate did not write and prints what they see as JSON.

    read_table.py URL [--engine deltalake --engine duckdb …] [--id-column id] [--ids] [--no-dead-letters]

One object per engine: rows, the identity columns counted distinct, the ids counted, hashed and (with
--ids) listed, the live files, and what stands in the dead-letter table beside the table. A table that is
not there reads as null. S3 is reached through AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY (path style).
"""

import argparse
import collections
import hashlib
import json
import os
import sys

import pyarrow as pa
import pyarrow.compute as pc

# Rows of bulk runs are numbered anew in every interval; streamed ones have none.
IDENTITY = ["_tg_src", "_tg_part", "_tg_seq", "_tg_idx", "_tg_interval"]


def storage_options():
    """The store's settings in the words of delta-rs, which polars passes on to the same library."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return {}
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        "AWS_REGION": os.environ.get("AWS_REGION", "us-east-1"),
        "AWS_ALLOW_HTTP": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }


def delta_table(url):
    from deltalake import DeltaTable

    return DeltaTable(url, storage_options=storage_options())


def is_table(url):
    from deltalake import DeltaTable

    return DeltaTable.is_deltatable(url, storage_options=storage_options())


class Deltalake:
    """delta-rs for the log, Arrow C++ for the files."""

    def columns(self, url):
        return [field.name for field in delta_table(url).schema().fields]

    def read(self, url, columns):
        return delta_table(url).to_pyarrow_table(columns=columns)


class Polars:
    """delta-rs for the log, polars' own Parquet reader for the files."""

    def columns(self, url):
        return self._scan(url).collect_schema().names()

    def read(self, url, columns):
        return self._scan(url).select(columns).collect().to_arrow()

    def _scan(self, url):
        import polars

        return polars.scan_delta(url, storage_options=storage_options())


class DuckDB:
    """delta_kernel for the log, DuckDB's Parquet reader for the files."""

    def __init__(self):
        self.connection = duckdb_connection()

    def columns(self, url):
        rows = self.connection.execute(f"DESCRIBE SELECT * FROM delta_scan('{url}')").fetchall()
        return [row[0] for row in rows]

    def read(self, url, columns):
        wanted = ", ".join(f'"{name}"' for name in columns)
        result = self.connection.execute(f"SELECT {wanted} FROM delta_scan('{url}')")
        return result.to_arrow_reader().read_all()


ENGINES = {"deltalake": Deltalake, "duckdb": DuckDB, "polars": Polars}


def duckdb_connection():
    """A DuckDB with its delta extension, from wheels instead of a download."""
    import duckdb
    from duckdb_extensions import import_extension

    for name in ("delta", "httpfs"):
        import_extension(name)
    connection = duckdb.connect()
    connection.execute("LOAD delta; LOAD httpfs;")
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        scheme, host = endpoint.split("://", 1)
        connection.execute(
            f"""CREATE SECRET store (TYPE s3, PROVIDER config,
                KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
                SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}',
                REGION '{os.environ.get("AWS_REGION", "us-east-1")}',
                ENDPOINT '{host}', URL_STYLE 'path', USE_SSL {scheme == "https"})"""
        )
    return connection


def distinct(table, columns):
    if not columns or table.num_rows == 0:
        return 0
    return table.group_by(columns).aggregate([]).num_rows


def describe_rows(engine, url, id_column, with_ids):
    """What one engine sees of the table."""
    present = engine.columns(url)
    identity = [name for name in IDENTITY if name in present]
    ids = [id_column] if id_column in present else []
    table = engine.read(url, identity + ids or present[:1])
    seen = {
        "rows": table.num_rows,
        "columns": sorted(present),
        "distinct_identities": distinct(table, identity),
    }
    if ids:
        column = table[id_column]
        texts = sorted(str(value) for value in column.to_pylist() if value is not None)
        seen["null_ids"] = column.null_count
        seen["distinct_ids"] = pc.count_distinct(column, mode="only_valid").as_py()
        seen["ids_digest"] = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        if with_ids:
            seen["ids"] = texts
    return seen


def describe_dead_letters(engine, url):
    """How many dead letters there are and why; zero when there is no such table."""
    if not is_table(url):
        return {"rows": 0, "reasons": {}, "distinct_identities": 0, "payload_digests": []}
    present = engine.columns(url)
    payload = [name for name in ("payload",) if name in present]
    identity = dead_letter_identity(present)
    table = engine.read(url, ["reason", *payload, *identity])
    payloads = table["payload"].to_pylist() if payload else []
    return {
        "rows": table.num_rows,
        "reasons": dict(collections.Counter(str(value) for value in table["reason"].to_pylist())),
        "distinct_identities": distinct(table, identity),
        "payload_digests": sorted(hashlib.sha256(bytes(p or b"")).hexdigest() for p in payloads),
    }


def dead_letter_identity(present):
    plain = ["src", "ledger", "partition", "sequence", "idx", "index"]
    return [name for name in [*IDENTITY, *plain] if name in present]


def describe_files(url):
    table = delta_table(url)
    adds = pa.table(table.get_add_actions(flatten=True))
    sizes = adds["size_bytes"].to_pylist()
    return {
        "version": table.version(),
        "files": len(sizes),
        "bytes": sum(sizes),
        "smallest_file": min(sizes, default=0),
        "largest_file": max(sizes, default=0),
        "partition_columns": table.metadata().partition_columns,
    }


def describe(url, engine_name, id_column="id", with_ids=False, dead_letters=True):
    """Everything that one engine sees; None when there is no table."""
    if not is_table(url):
        return None
    engine = ENGINES[engine_name]()
    seen = {"engine": engine_name, **describe_files(url)}
    seen |= describe_rows(engine, url, id_column, with_ids)
    if dead_letters:
        seen["dead_letters"] = describe_dead_letters(engine, url.rstrip("/") + "/_dead_letters")
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="file:///… or s3://bucket/…")
    parser.add_argument("--engine", action="append", choices=sorted(ENGINES))
    parser.add_argument("--id-column", default="id")
    parser.add_argument("--ids", action="store_true", help="list every id")
    parser.add_argument("--no-dead-letters", action="store_true")
    given = parser.parse_args()
    seen = [
        describe(given.url, name, given.id_column, given.ids, not given.no_dead_letters)
        for name in given.engine or sorted(ENGINES)
    ]
    json.dump(seen, sys.stdout)
    print(flush=True)
    # The engines' threads now and then abort the interpreter while it goes down.
    os._exit(0)


if __name__ == "__main__":
    main()
