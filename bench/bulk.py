#!/usr/bin/env python3
"""How fast a table of Postgres becomes Parquet: Tidegate and others, in turn, in one run.

    bulk.py OUTPUT.json [--rows 3000000] [--rounds 3]

A Postgres of its own is started and filled; then every contender moves the same rows, zstd level 1, over
one connection (Tidegate once more over two), and psql throws the rows of COPY BINARY away, which is the
wall; two at once each throw half of them away, which is the wall for two connections. Contenders take turns, so that a noisy neighbour hits all alike; of each the median counts. CPU
seconds are the client's, by getrusage of the process; those of the server only tell how far two connections
could go on this machine, which client and server share. For the same reason there is a run of one connection
whose client and server have one core together: two connections on two cores are compared with it, too. Tidegate's include its whole process, start, log and
proof that the counts agree; the others' begin behind their imports.

Wanted from the environment: TIDEGATE_BIN, and TIDEGATE_BENCH_PYTHON with what bench/requirements.txt names.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
WORKSPACE = HERE.parent
sys.path.insert(0, str(WORKSPACE / "tests"))

from postgres_server import PostgresServer  # noqa: E402

# 13 columns, about 143 bytes a row in the binary form.
FILL = """
CREATE TABLE bench AS SELECT
    n::bigint AS id,
    (n * 7919 % 1000003)::integer AS customer,
    (n % 90 + 1)::smallint AS quantity,
    ((n * 104729 % 10000000) / 100.0)::numeric(12, 2) AS price,
    ((n % 977) / 977.0)::double precision AS discount,
    n % 3 = 0 AS paid,
    (ARRAY['open', 'paid', 'shipped', 'returned', 'cancelled'])[n % 5 + 1] AS status,
    (ARRAY['DE', 'FR', 'JP', 'KR', 'US', 'ZA'])[n % 6 + 1] AS country,
    'sku-' || lpad((n * 31 % 100000)::text, 5, '0') AS sku,
    CASE WHEN n % 4 = 0 THEN NULL ELSE 'leave at door ' || (n * 13 % 50000) END AS note,
    timestamptz '2026-01-01 00:00:00+00' + n * interval '10 ms' AS ordered_at,
    date '2026-01-01' + (n % 365)::integer AS shipped_on,
    timestamp '2026-01-01 00:00:00' + n * interval '11 ms' AS updated_at
FROM generate_series(1::bigint, {rows}) AS n;
ALTER TABLE bench ADD PRIMARY KEY (id);
"""
PEERS = ("duckdb", "adbc", "connectorx")
ORDER = ("copy", "copy_two", "tidegate", "duckdb", "adbc", "connectorx", "tidegate_two", "tidegate_one_core")
GOALS = {
    "duckdb_cpu": 1.2,
    "adbc_cpu": 2.5,
    "connectorx_cpu": None,
    "copy_wall": 0.7,
    "two_backends_wall": 1.6,
    "two_cores_wall": None,
    "copy_two_wall": None,
}
MEMORY_GOAL = 200


class Peak(threading.Thread):
    """The largest resident memory that a process ever had, as the kernel remembers it, in MiB."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.status, self.mib = pathlib.Path(f"/proc/{pid}/status"), 0.0

    def run(self):
        while True:
            try:
                lines = self.status.read_text().splitlines()
            except OSError:
                return
            peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
            if not peak:
                return
            self.mib = max(self.mib, peak[0] / 1024)
            time.sleep(0.02)


def measured(command, **options):
    """Runs a command; its CPU and wall seconds, its memory, its output. A failure ends everything."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    peak = Peak(process.pid)
    peak.start()
    out = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seen = {
        "wall": time.monotonic() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": peak.mib,
    }
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}: {out.decode(errors='replace')}")
    return seen, out


def copy(server, _folder):
    """COPY BINARY to nothing: what the server and the wire cost anybody."""
    psql = [server.program("psql"), "-qX", server.uri(), "-c", "COPY bench TO STDOUT (FORMAT BINARY)"]
    seen, _ = measured(psql, stdout=subprocess.DEVNULL)
    return seen


def copy_two(server, _folder):
    """The same by two connections, a half of the table's pages each."""
    middle = int(server.sql("SELECT pg_relation_size('bench') / current_setting('block_size')::bigint / 2"))
    halves = [f"ctid < '({middle},0)'", f"ctid >= '({middle},0)'"]
    # One process is measured, which waits for both.
    script = " & ".join(
        f'"$0" -qX "$1" -c "COPY (SELECT * FROM bench WHERE {half}) TO STDOUT (FORMAT BINARY)" > /dev/null'
        for half in halves
    )
    shell = ["bash", "-c", script + " & wait -n && wait -n", server.program("psql"), server.uri()]
    seen, _ = measured(shell)
    return seen


def peer(tool, server, folder):
    python = os.environ.get("TIDEGATE_BENCH_PYTHON", sys.executable)
    command = [python, str(HERE / "peers.py"), tool, server.uri(), str(folder / "rows.parquet")]
    seen, out = measured(command, stdout=subprocess.PIPE)
    return seen | json.loads(out)


def tidegate(server, folder, rows, parallelism):
    document = {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "IngestionPipeline",
        "metadata": {"name": "bench"},
        "spec": {
            "source": {
                "type": "Postgres",
                "postgres": {
                    "connection": {"secretRef": {"name": "bench"}},
                    "table": "public.bench",
                    "tls": {"mode": "Disable"},
                },
            },
            # Enough chunks that two connections share the rows evenly.
            "bulk": {"chunking": {"targetRows": max(rows // 8, 1_000), "parallelism": parallelism}},
            "sink": {
                "writeMode": "Overwrite",
                "storage": {"url": f"file://{folder}/table"},
                "file": {"compression": "ZSTD"},
            },
        },
    }
    (folder / "bench.yaml").write_text(json.dumps(document))
    secret = folder / "secrets" / "bench"
    secret.mkdir(parents=True)
    (secret / "uri").write_text(server.uri())
    command = [os.environ["TIDEGATE_BIN"], "run", "-f", str(folder / "bench.yaml"), "--until-caught-up"]
    command += ["--secrets-dir", str(folder / "secrets"), "--data-dir", str(folder / "data")]
    # What a run says is little; a pipe holds it.
    seen, _ = measured(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return seen


def check_rows(contender, folder, rows):
    """Every contender must have written every row."""
    import pyarrow.parquet as pq

    files = [file for file in folder.rglob("*.parquet") if "_delta_log" not in file.parts]
    written = sum(pq.ParquetFile(file).metadata.num_rows for file in files)
    if written != rows:
        sys.exit(f"{contender} wrote {written} rows of {rows}: see {folder}")
    return sum(file.stat().st_size for file in files)


def once(contender, server, base, rows):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{contender}-", dir=base))
    before = server.cpu_seconds()
    if contender in ("copy", "copy_two"):
        seen = copy(server, folder) if contender == "copy" else copy_two(server, folder)
    elif contender in PEERS:
        seen = peer(contender, server, folder)
    else:
        with server.on_core(0) if contender == "tidegate_one_core" else contextlib.nullcontext():
            seen = tidegate(server, folder, rows, 2 if contender == "tidegate_two" else 1)
    if not contender.startswith("copy"):
        seen["bytes"] = check_rows(contender, folder, rows)
    seen["server_cpu"] = server.cpu_seconds() - before
    shutil.rmtree(folder)
    return seen


def fill(server, rows):
    server.sql(FILL.format(rows=rows))
    server.sql("VACUUM (FREEZE, ANALYZE) bench")
    server.sql("CHECKPOINT")


def median(rounds, contender, what):
    return statistics.median(seen[contender][what] for seen in rounds)


def ratios(rounds):
    """Above one is better for Tidegate, except for `copy_wall`, whose most is one."""

    def over(contender, other, what):
        return round(median(rounds, contender, what) / median(rounds, other, what), 3)

    return {
        **{f"{tool}_cpu": over(tool, "tidegate", "cpu") for tool in PEERS},
        "copy_wall": over("copy", "tidegate", "wall"),
        "two_backends_wall": over("tidegate", "tidegate_two", "wall"),
        "two_cores_wall": over("tidegate_one_core", "tidegate_two", "wall"),
        "copy_two_wall": over("copy", "copy_two", "wall"),
    }


def two_backends_bound(rounds):
    """The `two_backends_wall` of a client and a server that keep every core of this machine busy."""
    busy = median(rounds, "tidegate_two", "cpu") + median(rounds, "tidegate_two", "server_cpu")
    return round(median(rounds, "tidegate", "wall") / (busy / os.cpu_count()), 3)


def table(report):
    rows = report["rows"]
    lines = [f"{'':18} {'cpu s':>8} {'ns/row':>8} {'wall s':>8} {'MiB':>7} {'file MB':>8}"]
    for contender in ORDER:
        seen = report["medians"][contender]
        size = f"{seen['bytes'] / 1e6:8.1f}" if "bytes" in seen else f"{'-':>8}"
        lines.append(
            f"{contender:18} {seen['cpu']:8.2f} {seen['cpu'] / rows * 1e9:8.0f} {seen['wall']:8.2f}"
            f" {seen['memory']:7.0f} {size}"
        )
    lines.append("")
    for name, ratio in report["ratios"].items():
        goal = GOALS[name]
        wanted = "" if goal is None else f"  wanted {goal}: {'yes' if ratio >= goal else 'NO'}"
        lines.append(f"{name:18} {ratio:6.2f}{wanted}")
    lines.append(f"{'':18} {report['two_backends_bound']:6.2f}  is what {report['cores']} cores allow two backends")
    memory = report["memory_mib"]
    lines.append(f"{'memory MiB':18} {memory:6.0f}  wanted {MEMORY_GOAL}: {'yes' if memory <= MEMORY_GOAL else 'NO'}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    base = pathlib.Path(tempfile.mkdtemp(prefix="bulk-bench-", dir=given.output.resolve().parent))
    with PostgresServer(["fsync=off", "shared_buffers=1GB", "jit=off", "autovacuum=off"]) as server:
        print(f"filling a Postgres with {given.rows:,} rows", flush=True)
        fill(server, given.rows)
        # Once unmeasured: the table is in the server's memory, the programs in the page cache.
        for contender in ORDER:
            once(contender, server, base, given.rows)
        rounds = []
        for number in range(given.rounds):
            rounds.append({contender: once(contender, server, base, given.rows) for contender in ORDER})
            print(f"round {number + 1} of {given.rounds} done", flush=True)
    shutil.rmtree(base)
    medians = {
        contender: {what: median(rounds, contender, what) for what in rounds[0][contender]}
        for contender in ORDER
    }
    report = {
        "rows": given.rows,
        "rounds": rounds,
        "medians": medians,
        "ratios": ratios(rounds),
        "two_backends_bound": two_backends_bound(rounds),
        "memory_mib": max(medians[who]["memory"] for who in ("tidegate", "tidegate_two")),
        "cores": os.cpu_count(),
    }
    given.output.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))
    print(f"written to {given.output}")


if __name__ == "__main__":
    main()
