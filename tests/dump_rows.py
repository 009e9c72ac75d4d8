#!/usr/bin/env python3
"""Prints every value of a table and of the dead letters beside it, as JSON.

    dump_rows.py file:///…

deltalake and DuckDB both read; when they do not see the same, that is an error, unless somebody committed
meanwhile: then both read again. Bytes are printed as 0x…, decimals and times as text, maps as lists of
pairs. Rows are sorted by partition and sequence.
"""

import datetime
import decimal
import json
import math
import os
import sys
import time

from read_table import Deltalake, DuckDB, delta_table, is_table


def plain(value):
    """The value as JSON has it."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        utc = value.astimezone(datetime.timezone.utc) if value.tzinfo else value
        return utc.isoformat(timespec="microseconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    return value


def rows_of(engine, url):
    if not is_table(url):
        return []
    rows = [plain(row) for row in engine.read(url, engine.columns(url)).to_pylist()]
    order = ("_tg_src", "_tg_part", "_tg_seq", "_tg_idx")
    return sorted(rows, key=lambda row: [row.get(name) for name in order])


def version(url):
    """The table's newest version; None where there is no table."""
    return delta_table(url).version() if is_table(url) else None


def agreed_rows(places, patience=60):
    """What both engines see at versions that stood still while they read, for at most `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        before = [version(place) for place in places.values()]
        seen, other = (
            {what: rows_of(engine, place) for what, place in places.items()}
            for engine in (Deltalake(), DuckDB())
        )
        if seen == other:
            return seen
        stood_still = before == [version(place) for place in places.values()]
        if stood_still or time.monotonic() > until:
            sys.exit(f"deltalake sees {seen}\nDuckDB sees {other}")


def main():
    url = sys.argv[1]
    seen = agreed_rows({"rows": url, "dead": url + "/_dead_letters"})
    json.dump(seen, sys.stdout)
    sys.stdout.flush()
    # The engines' threads now and then abort the interpreter while it goes down.
    os._exit(0)


if __name__ == "__main__":
    main()
