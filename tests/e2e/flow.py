"""A year of flights, published part by part by Jobs, for as long as somebody wants data to flow."""

import itertools
import json
import pathlib
import sys
import threading

import kube

sys.path.insert(0, str(kube.ROOT / "scripts"))
import flights  # noqa: E402

PARTS = 45
PART = 3_000
# Each part begins with the end of the one before: copies that deduplication has to drop.
OVERLAP = 150
MESSAGES_PER_SECOND = 600
# A part takes seconds; one that lost its broker waits ten, twenty … until it is tried again.
PART_SECONDS = 240


def write_parts(folder):
    """The files that Jobs publish."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    records = list(itertools.islice(flights.records(), PARTS * PART))
    for number in range(PARTS):
        begin = max(number * PART - OVERLAP, 0)
        with open(folder / f"part-{number}.ndjson", "w") as lines:
            for record in records[begin : (number + 1) * PART]:
                lines.write(json.dumps(record, separators=(",", ":")) + "\n")


def ids(parts):
    """The ids of the first so many parts."""
    return sorted(record["id"] for record in itertools.islice(flights.records(), parts * PART))


class Flow:
    """Publishes one part after the other in the background."""

    def __init__(self, job):
        # Makes the Job of a part: from its name, the file and the rate.
        self.job = job
        self.parts = 0
        self.failure = None
        self.flowing = threading.Event()
        self.idle = threading.Event()
        self.idle.set()
        threading.Thread(target=self._run, daemon=True).start()

    def start(self):
        self.idle.clear()
        self.flowing.set()

    def stop(self):
        """No further part; returns when the one under way is published."""
        self.flowing.clear()
        self.idle.wait(PART_SECONDS)
        self.check()

    def flows(self):
        return self.flowing.is_set()

    def check(self):
        if self.failure:
            raise kube.Failed(f"publishing: {self.failure}")

    def records(self):
        """How many different flights have been published for certain."""
        self.check()
        return self.parts * PART

    def _run(self):
        while not self.failure:
            if not self.flowing.is_set():
                self.idle.set()
            self.flowing.wait()
            try:
                self._publish_next()
            except Exception as failure:  # noqa: BLE001 - told by whoever asks next
                self.failure = failure
        self.idle.set()

    def _publish_next(self):
        if self.parts == PARTS:
            raise kube.Failed(f"all {PARTS} parts are published; the scenario takes too long")
        job = self.job(f"publish-{self.parts}", f"/data/part-{self.parts}.ndjson", MESSAGES_PER_SECOND)
        kube.apply(job)
        kube.kubectl(
            "-n", job["metadata"]["namespace"], "wait", f"job/{job['metadata']['name']}",
            "--for=condition=complete", f"--timeout={PART_SECONDS}s",
        )  # fmt: skip
        self.parts += 1


if __name__ == "__main__":
    write_parts(sys.argv[1])
