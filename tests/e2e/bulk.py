"""Runs of a bulk pipeline in the cluster: from a database there to a table in the store."""

import contextlib
import datetime
import subprocess

import documents
import kube
import table
from documents import NAMESPACE
from kube import eventually, expect, get, get_all, kubectl

PIPELINE = "orders"
TABLE = "s3://lake/orders"
RUNS = f"tidegate.dev/pipeline={PIPELINE}"
TICK = datetime.timedelta(minutes=5)
# The schedule begins so many ticks ago; the backfill is of as many before.
PAST = 6
ROWS_PER_TICK = 500


def stamp(instant):
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def pipeline(start):
    return {
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
        "metadata": {"name": PIPELINE, "namespace": NAMESPACE},
        "spec": {
            "source": {
                "type": "Postgres",
                "postgres": {
                    "connection": {"secretRef": {"name": "orders-db"}},
                    "table": "public.orders",
                    "tls": {"mode": "Disable"},
                },
            },
            "bulk": {
                "incremental": {"cursorField": "created_at", "mutability": "Immutable", "settle": "0s"},
                "chunking": {"targetRows": 1000, "parallelism": 2},
                "schedule": {"cron": "*/5 * * * *", "startAt": stamp(start)},
                "maxActiveRuns": 2,
                "runTemplate": {"retry": {"limit": 5, "backoff": {"duration": "2s"}}},
            },
            "sink": {"writeMode": "ReplaceInterval", "storage": {"url": TABLE, **documents.storage()}},
            "template": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "384Mi"}}},
        },
    }  # fmt: skip


def run(name, **spec):
    return {
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"pipelineRef": {"name": PIPELINE}, **spec},
    }  # fmt: skip


def interval(start, end):
    return {"start": stamp(start), "end": stamp(end)}


class Bulk:
    """The orders pipeline's life, beside the flights'."""

    def __init__(self, witness):
        self.witness = witness
        now = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
        self.first = now - datetime.timedelta(minutes=now.minute % 5) - PAST * TICK

    # The database

    def sql(self, text):
        return kubectl("-n", "services", "exec", "deploy/postgres", "--", "psql", "-qAtc", text).strip()

    def insert(self, start, end, rows):
        """So many orders, evenly over a stretch of time."""
        self.sql(
            "INSERT INTO orders (created_at, cents) SELECT "
            f"'{stamp(start)}'::timestamptz + n * ('{stamp(end)}'::timestamptz - '{stamp(start)}') / {rows}, "
            f"n * 7 % 10007 FROM generate_series(0, {rows} - 1) n"
        )

    def sums(self, start, end):
        """Rows and cents of a stretch, as the database counts."""
        text = f"WHERE created_at >= '{stamp(start)}' AND created_at < '{stamp(end)}'"
        return tuple(map(int, self.sql(f"SELECT count(*), coalesce(sum(cents), 0) FROM orders {text}").split("|")))

    @contextlib.contextmanager
    def locked(self):
        """Nobody reads the orders meanwhile."""
        command = [
            kube.tool("kubectl"), "-n", "services", "exec", "-i", "deploy/postgres", "--", "psql", "-qAt",
        ]  # fmt: skip
        session = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            session.stdin.write("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;\n")
            session.stdin.flush()
            eventually("the table is locked", 30, lambda: self.sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted") != "0")
            yield
        finally:
            with contextlib.suppress(BrokenPipeError):
                session.stdin.write("COMMIT;\n")
                session.stdin.close()
            session.wait(30)

    # The cluster

    def scheduled(self):
        return [run for run in get_all("ingestionruns", "-n", NAMESPACE) if run["spec"]["trigger"] == "Scheduled"]

    def succeeded(self, name, seconds=120):
        kubectl("-n", NAMESPACE, "wait", f"ingestionrun/{name}", "--for=condition=Complete", f"--timeout={seconds}s")
        return get("ingestionrun", name, "-n", NAMESPACE)

    def coordinator(self, name):
        """The run's pod that works now."""
        pods = get_all("pods", "-n", NAMESPACE, "-l", f"tidegate.dev/run={name}")
        return next((pod for pod in pods if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]), None)

    def agrees(self, start, end):
        """The table has of a stretch just what the database has."""
        wanted, found = self.sums(start, end), table.sums(TABLE, stamp(start), stamp(end))
        expect(found == wanted, f"the table has {found} of {interval(start, end)}, the database {wanted}")

    # What happens

    def a_schedule_catches_up_from_a_database(self):
        self.sql("CREATE TABLE orders (id bigserial PRIMARY KEY, created_at timestamptz NOT NULL, cents bigint NOT NULL)")
        last = self.first + PAST * TICK
        self.insert(self.first - PAST * TICK, last, 2 * PAST * ROWS_PER_TICK)
        kube.apply(pipeline(self.first))
        for tick in range(1, PAST + 1):
            end = self.first + tick * TICK
            name = f"{PIPELINE}-{end.strftime('%Y%m%dt%H%M%Sz')}"
            eventually(f"{name} was made", 120, lambda name=name: get("ingestionrun", name, "-n", NAMESPACE))
            self.succeeded(name)
        kubectl("-n", NAMESPACE, "wait", f"ingestionpipeline/{PIPELINE}", "--for=condition=Ready", "--timeout=60s")
        self.agrees(self.first, last)
        expect(table.sums(TABLE, stamp(self.first - PAST * TICK), stamp(self.first)) == (0, 0), "rows from before startAt")

    def a_backfill_makes_a_run_for_each_interval(self):
        start = self.first - PAST * TICK
        kube.apply(run("history", trigger="Backfill", range=interval(start, self.first)))
        children = self.succeeded("history", 240)["status"]["children"]
        expect(children["succeeded"] == PAST, f"{children} instead of {PAST} succeeded")
        self.agrees(start, self.first + PAST * TICK)

    def a_run_made_again_replaces_its_interval(self):
        end = self.first + TICK
        self.insert(self.first, end, 100)
        kube.apply(run("again", trigger="Manual", interval=interval(self.first, end)))
        rows = self.succeeded("again")["status"]["rows"]
        expect(rows["replaced"] == ROWS_PER_TICK and rows["committed"] == ROWS_PER_TICK + 100, f"rows: {rows}")
        self.agrees(self.first - PAST * TICK, self.first + PAST * TICK)

    def a_killed_coordinator_is_followed_by_the_next_attempt(self):
        self.interrupted("killed", self.kill)

    def a_drained_coordinator_is_followed_by_the_next_attempt(self):
        self.interrupted("drained", self.drain)

    def interrupted(self, name, interrupt):
        """A run is held up at the database, meets its fate, and ends well all the same."""
        with self.locked():
            kube.apply(run(name, trigger="Manual", interval=interval(self.first, self.first + TICK)))
            interrupt(eventually("the coordinator runs", 90, lambda: self.coordinator(name)))
        attempt = self.succeeded(name, 180)["status"]["attempt"]
        expect(attempt > 1, f"attempt {attempt} succeeded")
        self.agrees(self.first - PAST * TICK, self.first + PAST * TICK)

    # Chunks in pods of their own

    def readers(self, run, chunk=None):
        """The pods that read chunks of the run, or one of its chunks, dead ones too."""
        index = "" if chunk is None else f",batch.kubernetes.io/job-completion-index={chunk}"
        labels = f"tidegate.dev/run={run},app.kubernetes.io/component=transfer-chunk{index}"
        return get_all("pods", "-n", NAMESPACE, "-l", labels)

    def running_readers(self, run, chunk):
        return [pod for pod in self.readers(run, chunk) if pod["status"]["phase"] == "Running"]

    @contextlib.contextmanager
    def no_place(self):
        """Pods find no node meanwhile."""
        nodes = [node["metadata"]["name"] for node in get_all("nodes")]
        try:
            kubectl("cordon", *nodes)
            yield
        finally:
            kubectl("uncordon", *nodes)

    @contextlib.contextmanager
    def slow_to_answer(self):
        """Whoever connects to the database waits some seconds until it is listened to."""
        self.sql("ALTER SYSTEM SET post_auth_delay = 3")
        self.sql("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.sql("ALTER SYSTEM RESET post_auth_delay")
            self.sql("SELECT pg_reload_conf()")

    def a_killed_reader_of_a_chunk_is_replaced_alone(self):
        """Of a run whose chunks are read by pods of their own one is killed while it reads."""
        chunking = '{"spec": {"bulk": {"chunking": {"placement": "Pods"}}}}'
        kubectl("-n", NAMESPACE, "patch", "ingestionpipeline", PIPELINE, "--type=merge", "-p", chunking)
        name = "in-pods"
        # Several chunks of the pipeline's target.
        self.insert(self.first, self.first + TICK, 3000)
        with contextlib.ExitStack() as held:
            with self.locked():
                kube.apply(run(name, trigger="Manual", interval=interval(self.first, self.first + TICK)))
                eventually("the coordinator runs", 90, lambda: self.coordinator(name))
                no_place = held.enter_context(contextlib.ExitStack())
                no_place.enter_context(self.no_place())
            eventually("readers are made", 60, lambda: self.readers(name))
            held.enter_context(self.slow_to_answer())
            no_place.close()
            [victim] = eventually("the first chunk is read", 90, lambda: self.running_readers(name, 0))
            self.kill(victim)
        done = self.succeeded(name, 240)["status"]
        # Who meets the slow server may give up and come again.
        for reader in self.readers(name):
            self.witness.was_told(reader)
        expect(done["attempt"] == 1, f"attempt {done['attempt']} succeeded")
        total = done["chunks"]["total"]
        expect(total > 1 and done["chunks"]["done"] == total, f"chunks: {done['chunks']}")
        self.agrees(self.first - PAST * TICK, self.first + PAST * TICK)
        eventually("no reader is left", 60, lambda: not self.readers(name))

    def kill(self, pod):
        self.witness.was_told(pod)
        kubectl("-n", NAMESPACE, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")

    def drain(self, pod):
        self.witness.was_told(pod)
        node = pod["spec"]["nodeName"]
        try:
            kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
        finally:
            kubectl("uncordon", node)

    def a_deleted_pipeline_takes_the_runs_of_its_schedule_along(self):
        kubectl("-n", NAMESPACE, "delete", "ingestionpipeline", PIPELINE, "--timeout=120s")
        eventually("no run of the schedule is left", 60, lambda: not self.scheduled())
        kubectl("-n", NAMESPACE, "delete", "ingestionruns", "--all", "--timeout=120s")
        eventually("no pod is left", 60, lambda: not get_all("pods,jobs", "-n", NAMESPACE, "-l", RUNS))
