#!/usr/bin/env python3
"""Writes what the demo publishes: demo_prepare.py FOLDER

messages.ndjson   every flight once; a few are broken on the way, and a few lines are no record at all
resent.ndjson     some flights again, and the broken ones as they should have been
expected.json     what must come out
"""

import json
import pathlib
import sys

import flights

# Every how many flights one is sent again.
RESEND_EVERY = 25
# Flights that are first sent with a broken value and later corrected under the same id.
BROKEN = {
    1_000: {"dep_delay": "two minutes"},
    100_000: {"distance": [1400]},
    200_000: {"flight": 99_999_999_999},
    300_000: {"time_hour": None},
}
BROKEN_REASONS = {"WrongType": 2, "OutOfRange": 1, "MissingField": 1}
# Lines that are no flight, put in at these places.
NOISE = {
    5_000: (b'{"id": "cut-short", "carrier": "UA", "fli', "Malformed"),
    50_000: (b"<flight carrier='UA'/>", "Malformed"),
    150_000: (b'{"id": "latin-1", "carrier": "UA", "origin": "JFK", "dest": "Z\xfcrich"}', "InvalidEncoding"),
    250_000: (b'{"id": "deep", "carrier": "UA", "x": ' + b"[" * 100 + b"]" * 100 + b"}", "TooDeep"),
    320_000: (b'{"id": "no-origin", "carrier": "UA", "time_hour": "2013-05-01T00:00:00Z"}', "MissingField"),
}


def line(record):
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def expected_reasons():
    reasons = dict(BROKEN_REASONS)
    for _, reason in NOISE.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    return reasons


def main():
    folder = pathlib.Path(sys.argv[1])
    sent = resent = corrected = 0
    with open(folder / "messages.ndjson", "wb") as messages, open(folder / "resent.ndjson", "wb") as again:
        for number, record in enumerate(flights.records()):
            if number in NOISE:
                messages.write(NOISE[number][0] + b"\n")
                sent += 1
            messages.write(line(record | BROKEN.get(number, {})))
            sent += 1
            if number in BROKEN:
                again.write(line(record))
                corrected += 1
            elif number % RESEND_EVERY == 1:
                again.write(line(record))
                resent += 1
    reasons = expected_reasons()
    expected = {
        "flights": flights.COUNT,
        "published": sent,
        "duplicates": resent,
        "corrected": corrected,
        "dead_letters": sum(reasons.values()),
        "reasons": reasons,
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    size = (folder / "messages.ndjson").stat().st_size
    print(f"{sent:,} messages ({size / 1e6:.0f} MB): {flights.COUNT:,} flights, of which {corrected} are")
    print(f"broken on the way, and {len(NOISE)} lines that are no flight at all.")
    print(f"To be sent later: {resent:,} flights once more, and the {corrected} broken ones corrected.")


if __name__ == "__main__":
    main()
