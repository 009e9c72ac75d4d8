#!/usr/bin/env python3
"""Moves the table `bench` from Postgres into one Parquet file, zstd level 1, with somebody else's tool:

    peers.py duckdb|adbc|connectorx CONNECTION-URI FILE

Prints {"cpu": seconds, "wall": seconds} of the work alone; what importing costs is left out, so that
nobody pays for Python's start.
"""

import json
import resource
import sys
import time

TABLE = "bench"
ROWS_A_GROUP = 500_000


def write_batches(schema, batches, path):
    """Arrow batches into a Parquet file, in row groups as large as the others'."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        held, rows = [], 0
        for batch in batches:
            held.append(batch)
            rows += batch.num_rows
            if rows >= ROWS_A_GROUP:
                writer.write_table(pa.Table.from_batches(held, schema))
                held, rows = [], 0
        if held:
            writer.write_table(pa.Table.from_batches(held, schema))


def duckdb():
    import duckdb
    from duckdb_extensions import import_extension

    import_extension("postgres_scanner")

    def move(uri, path):
        connection = duckdb.connect()
        connection.execute("LOAD postgres_scanner; SET threads TO 1; SET preserve_insertion_order = false")
        connection.execute(f"ATTACH '{uri}' AS source (TYPE postgres, READ_ONLY)")
        connection.execute(
            f"COPY (SELECT * FROM source.public.{TABLE}) TO '{path}'"
            f" (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {ROWS_A_GROUP})"
        )

    return move


def adbc():
    import pyarrow  # noqa: F401 - part of what is not counted
    import pyarrow.parquet  # noqa: F401
    from adbc_driver_postgresql import dbapi

    def move(uri, path):
        with dbapi.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {TABLE}")
            reader = cursor.fetch_record_batch()
            write_batches(reader.schema, reader, path)

    return move


def connectorx():
    import connectorx
    import pyarrow.parquet  # noqa: F401

    def move(uri, path):
        reader = connectorx.read_sql(uri, f"SELECT * FROM {TABLE}", return_type="arrow_stream")
        write_batches(reader.schema, reader, path)

    return move


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    tool, uri, path = sys.argv[1:]
    move = {"duckdb": duckdb, "adbc": adbc, "connectorx": connectorx}[tool]()
    wall, used = time.monotonic(), cpu()
    move(uri, path)
    print(json.dumps({"cpu": cpu() - used, "wall": time.monotonic() - wall}), flush=True)


if __name__ == "__main__":
    main()
