#!/usr/bin/env python3
"""The billing example, run against a real PostgreSQL that does not stand still.

    billing.py FOLDER [--days N]

Orders are changed, added and deleted while they are loaded; a transaction stays open across a tick; runs are
killed in the middle; the past month is fetched, killed, and fetched on. Afterwards the tables hold what SQL
says of the source, to the cent.

Wanted from the environment: TIDEGATE_BIN, and BILLING_POSTGRES, the address of an empty database that one may
administer; without it a server of its own is started.
"""

import argparse
import contextlib
import copy
import datetime
import decimal
import os
import pathlib
import signal
import subprocess
import sys
import time

import yaml
from checks import check, result
from postgres_server import PostgresServer, programs
from read_table import Deltalake, DuckDB, is_table

EXAMPLE = pathlib.Path(__file__).resolve().parent.parent / "examples/billing"
ORDERS, TRANSACTIONS = 20_000, 100_000
# From the writing of the documents to the tick at least: time to open a transaction.
LEAD = datetime.timedelta(seconds=15)
LIMIT = 120
HOUR = datetime.timedelta(hours=1)

# One transaction of the shop's: an order changes, one comes, one goes, and the books say how it is now.
CHANGE = """
BEGIN;
UPDATE orders SET status = 'paid', total = total + 0.01, changed = now() WHERE id = 1 + {n} * 7919 % {orders};
INSERT INTO orders VALUES ({orders} + {n}, 'late', 'open', {n} % 977 + 0.37, now(), now());
DELETE FROM orders WHERE id = {orders} + {n} - 3;
INSERT INTO ledger_entries (order_id, kind, amount) VALUES ({n}, 'payment', {n} % 977 + 0.37);
INSERT INTO states SELECT count(*), sum(total), sum(id) FROM orders;
COMMIT;
"""


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def text(instant):
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def wait_until(what, truth, limit=LIMIT):
    deadline = time.monotonic() + limit
    while not truth():
        if time.monotonic() > deadline:
            sys.exit(f"FAILED: {what} did not come in {limit} s")
        time.sleep(0.2)
    check(what, True)


class Books:
    """The source."""

    def __init__(self, uri):
        self.uri = uri

    def psql(self, *arguments, **options):
        command = [str(programs() / "psql"), "-qXAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", self.uri, *arguments]
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)

    def run(self, *arguments):
        session = self.psql(*arguments)
        answer = session.communicate()[0]
        if session.returncode != 0:
            sys.exit(f"psql {arguments} ended with {session.returncode}")
        return answer

    def rows(self, query):
        return [line.split("\t") for line in self.run("-c", f"SET timezone = 'UTC'; {query}").splitlines()]

    def reader(self, name, password):
        """The address for another user."""
        return self.uri.replace("postgres@", f"{name}:{password}@", 1)


@contextlib.contextmanager
def session(books, statement):
    """A transaction that stays open for the time of a block, and commits at its end."""
    held = books.psql(stdin=subprocess.PIPE, bufsize=1)
    held.stdin.write(f"BEGIN;\n{statement};\nSELECT 'held';\n")
    held.stdin.flush()
    check("a transaction is held open", held.stdout.readline() == "held\n")
    try:
        yield
        held.stdin.write("COMMIT;\n")
        held.stdin.close()
        check("it commits", held.wait(LIMIT) == 0)
    finally:
        held.kill()


@contextlib.contextmanager
def shop(books, folder):
    """Changes the books without pause for the time of a block."""
    books.run("-c", "CREATE TABLE states AS SELECT count(*) AS orders, sum(total), sum(id) AS ids FROM orders")
    script = folder / "changes.sql"
    with script.open("w") as file:
        file.writelines(CHANGE.format(n=n, orders=ORDERS) for n in range(1, TRANSACTIONS))
    writer = books.psql("-f", str(script))
    try:
        yield
        check("the books changed all the while", writer.poll() is None)
    finally:
        writer.terminate()
        writer.wait()


class Tidegate:
    """The binary, with the example's documents as this test needs them."""

    def __init__(self, folder, uri):
        self.folder = folder
        secret = folder / "secrets/billing-db"
        secret.mkdir(parents=True)
        (secret / "uri").write_text(uri)
        documents = yaml.safe_load_all((EXAMPLE / "pipelines.yaml").read_text())
        self.documents = {one["metadata"]["name"]: one for one in documents}
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A check that failed leaves nobody running behind it.
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def url(self, name):
        return f"file://{self.folder}/tables/{name}"

    def write(self, name, change):
        document = copy.deepcopy(self.documents[name])
        document["spec"]["sink"]["storage"]["url"] = self.url(name)
        change(document["spec"]["bulk"])
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))

    def start(self, command, name, *arguments, failpoint=None):
        call = [os.environ["TIDEGATE_BIN"], command, "-f", f"{name}.yaml", "--secrets-dir", "secrets", *arguments]
        log = open(self.folder / "tidegate.log", "a")  # noqa: SIM115 - the process writes to it
        print("$", *call, file=log, flush=True)
        environment = {**os.environ, **({"TIDEGATE_FAILPOINT": failpoint} if failpoint else {})}
        process = subprocess.Popen(call, cwd=self.folder, stdout=log, stderr=log, env=environment)
        self.started.append(process)
        return process

    def call(self, command, name, *arguments, failpoint=None, code=0):
        ended = self.start(command, name, *arguments, failpoint=failpoint).wait(LIMIT * 10)
        check(f"{command} {name} {arguments} ends with {code} and not {ended}; see tidegate.log", ended == code)


class Table:
    def __init__(self, url):
        self.url = url

    def read(self, columns, engine=None):
        rows = (engine or Deltalake()).read(self.url, columns).to_pylist() if is_table(self.url) else []
        return [tuple(row[name] for name in columns) for row in rows]

    def version(self):
        from read_table import delta_table

        return delta_table(self.url).version()


def sums_of_orders(table):
    rows = table.read(["id", "total"])
    return len(rows), sum(total for _, total in rows), sum(number for number, _ in rows)


def states(books):
    found = books.rows("SELECT * FROM states")
    return {(int(count), decimal.Decimal(total), int(ids)) for count, total, ids in found}


def check_orders(books, tidegate):
    """Whole loads of rows that change: each is the source as it was at one moment."""
    orders = Table(tidegate.url("orders"))
    tidegate.write("orders", lambda bulk: bulk.pop("schedule"))
    tidegate.call("run", "orders", "--until-caught-up")
    first = sums_of_orders(orders)
    check(f"{first} is one state of the source's", first in states(books))
    tidegate.call("run", "orders", "--until-caught-up", failpoint="run.files_finished", code=-signal.SIGKILL)
    check("a run that is killed changes nothing", sums_of_orders(orders) == first)
    tidegate.call("run", "orders", "--until-caught-up")
    second = sums_of_orders(orders)
    check(f"{second} is another state of the source's", second in states(books) and second != first)


def ledger_of_source(books, start, end):
    query = f"""
        SELECT kind, count(*), sum(amount), sum(id) FROM ledger_entries
        WHERE created_at >= '{text(start)}' AND created_at < '{text(end)}' GROUP BY kind ORDER BY kind
    """
    return [(kind, int(rows), decimal.Decimal(total), int(ids)) for kind, rows, total, ids in books.rows(query)]


def ledger_of_table(table, start, end, engine=None):
    sums = {}
    for kind, amount, number, created in table.read(["kind", "amount", "id", "created_at"], engine):
        if start <= created.astimezone(datetime.timezone.utc) < end:
            rows, total, ids = sums.get(kind, (0, decimal.Decimal(0), 0))
            sums[kind] = rows + 1, total + amount, ids + number
    return [(kind, *sums[kind]) for kind in sorted(sums)]


def check_tick(books, tidegate):
    """An hour whose last transaction commits late is whole all the same."""
    ledger = Table(tidegate.url("ledger-entries"))
    tick = (now() + LEAD).replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)
    begin = tick - 3 * HOUR

    def every_hour_at_the_tick(bulk):
        bulk["incremental"]["settle"] = "1s"
        bulk["schedule"] |= {"cron": f"{tick.minute} * * * *", "startAt": text(begin)}

    def agrees(start, end):
        return ledger_of_table(ledger, start, end) == ledger_of_source(books, start, end)

    tidegate.write("ledger-entries", every_hour_at_the_tick)
    with session(books, "INSERT INTO ledger_entries (order_id, kind, amount) VALUES (-1, 'payment', 1234.56)"):
        check("it began before the tick", now() < tick)
        running = tidegate.start("run", "ledger-entries")
        wait_until("the hours before are made up for", lambda: agrees(begin, tick - HOUR))
        wait_until("the tick", lambda: now() > tick + datetime.timedelta(seconds=5))
        check("nothing of the hour is there while a transaction is open", not ledger_of_table(ledger, tick - HOUR, tick))
        running.kill()
        running.wait()
        running = tidegate.start("run", "ledger-entries")
    wait_until("the hour", lambda: ledger_of_table(ledger, tick - HOUR, tick))
    check("the hour is whole", agrees(tick - HOUR, tick))
    check("with the entry that came late", (-1,) in ledger.read(["order_id"]))
    running.terminate()
    check("the run leaves when told to", running.wait(LIMIT) == 0)
    version = ledger.version()
    tidegate.call("run", "ledger-entries", "--until-caught-up")
    check("what is done is not run again", ledger.version() == version)
    return begin, tick


def check_last_month(books, tidegate, tick, days):
    """The past, fetched by hours, with a kill on the way."""
    ledger = Table(tidegate.url("ledger-entries"))
    this_month = tick.replace(day=1, hour=0)
    start = (this_month - datetime.timedelta(days=1)).replace(day=1)
    end = min(this_month, start + datetime.timedelta(days=days))
    stretch = ["--from", text(start), "--to", text(end), "--yes"]
    version = ledger.version()
    tidegate.call("backfill", "ledger-entries", *stretch, "--dry-run")
    check("a dry run changes nothing", ledger.version() == version)
    hours = (end - start) // HOUR
    running = tidegate.start("backfill", "ledger-entries", *stretch)
    wait_until("a third of the hours", lambda: ledger.version() > version + 2 * hours // 3, LIMIT * 5)
    running.kill()
    check("it was killed on the way", running.wait() == -signal.SIGKILL)
    tidegate.call("backfill", "ledger-entries", *stretch)
    expected = ledger_of_source(books, start, end)
    check("the source has entries there", expected)
    check("last month", ledger_of_table(ledger, start, end) == expected)
    day = ["--from", text(start), "--to", text(start + 24 * HOUR), "--yes"]
    tidegate.call("backfill", "ledger-entries", *day, "--reprocess", "All")
    check("a day that is run again takes its own place", ledger_of_table(ledger, start, end) == expected)
    return start, end


def check_at_the_end(books, tidegate, stretches):
    """The books stand still now: everything is compared, by two readers."""
    tidegate.call("run", "orders", "--until-caught-up")
    names = ["id", "customer", "status", "total"]
    expected = [
        (int(number), customer, status, decimal.Decimal(total))
        for number, customer, status, total in books.rows(f"SELECT {', '.join(names)} FROM orders ORDER BY id")
    ]
    for engine in (Deltalake(), DuckDB()):
        check("every order", sorted(Table(tidegate.url("orders")).read(names, engine)) == expected)
        ledger = Table(tidegate.url("ledger-entries"))
        for start, end in stretches:
            check("to the cent", ledger_of_table(ledger, start, end, engine) == ledger_of_source(books, start, end))
        entries = ledger.read(["id"], engine)
        check("no entry twice", len(entries) == len(set(entries)))
    for name in tidegate.documents:
        tidegate.call("verify", name)


def run(books, folder, days):
    since = (now().replace(day=1) - datetime.timedelta(days=1)).strftime("%Y-%m-01")
    books.run("-f", str(EXAMPLE / "schema.sql"))
    books.run("-v", f"orders={ORDERS}", "-v", f"since={since}", "-f", str(EXAMPLE / "seed.sql"))
    with Tidegate(folder, books.reader("tidegate", "tidegate")) as tidegate:
        with shop(books, folder):
            check_orders(books, tidegate)
            began, ended = check_tick(books, tidegate)
            month = check_last_month(books, tidegate, ended, days)
        check_at_the_end(books, tidegate, [(began, ended), month])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--days", type=int, default=2, help="how much of last month is fetched")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    uri = os.environ.get("BILLING_POSTGRES")
    if uri:
        run(Books(uri), folder, given.days)
    else:
        with PostgresServer() as server:
            run(Books(server.uri()), folder, given.days)
    print(result())


if __name__ == "__main__":
    main()
