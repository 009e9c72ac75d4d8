#!/usr/bin/env python3
"""Prints every value of a table and of the dead letters beside it, as JSON.

    dump_rows.py file:///…

deltalake and DuckDB both read; when they do not see the same, that is an error. Bytes are printed as
0x…, decimals and times as text, maps as lists of pairs. Rows are sorted by partition and sequence.
"""

import datetime
import decimal
import json
import math
import os
import sys

from read_table import Deltalake, DuckDB, is_table


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


def main():
    url = sys.argv[1]
    places = {"rows": url, "dead": url + "/_dead_letters"}
    seen, other = (
        {what: rows_of(engine, place) for what, place in places.items()}
        for engine in (Deltalake(), DuckDB())
    )
    if seen != other:
        sys.exit(f"deltalake sees {seen}\nDuckDB sees {other}")
    json.dump(seen, sys.stdout)
    sys.stdout.flush()
    # The engines' threads now and then abort the interpreter while it goes down.
    os._exit(0)


if __name__ == "__main__":
    main()
