"""kubectl and helm, and waiting for what they show."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Everything that is shown or kept.
OUTPUT = ROOT / "target/e2e"
LOOK_EVERY_SECONDS = 0.5


class Failed(Exception):
    """What was wanted did not come about."""


def tool(name):
    """A program of the folder that scripts/cluster-tools.sh prints."""
    return os.path.join(os.environ["TIDEGATE_CLUSTER_TOOLS"], name)


def call(*command, given=None, check=True, seconds=300):
    """Runs a program to its end and returns what it wrote."""
    run = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds)
    if check and run.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {run.stderr.strip() or run.stdout.strip()}")
    return run.stdout


def kubectl(*arguments, **options):
    return call(tool("kubectl"), *arguments, **options)


def helm(*arguments):
    return call(tool("helm"), *arguments)


def apply(*documents):
    return kubectl("apply", "-f", "-", given=yaml.safe_dump_all(documents))


def get(*arguments):
    """An object; None when it is not there."""
    text = kubectl("get", *arguments, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else None


def get_all(*arguments):
    """The objects that a selection finds."""
    return (get(*arguments) or {"items": []})["items"]


def eventually(what, seconds, probe):
    """Asks until the answer is true, and returns it. An answer that is not there yet may raise `Failed`."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            last = probe()
            if last:
                return last
        except Failed as failure:
            last = failure
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s; last seen: {last}")
        time.sleep(LOOK_EVERY_SECONDS)


def expect(truth, otherwise):
    if not truth:
        raise Failed(otherwise)


def condition(thing, name):
    """The status and the reason of a condition."""
    for found in thing.get("status", {}).get("conditions", []):
        if found["type"] == name:
            return found["status"], found.get("reason")
    return None, None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def forwarded(namespace, target, port):
    """The address on this machine of a port in the cluster, for the time of a block."""
    local = free_port()
    command = [tool("kubectl"), "-n", namespace, "port-forward", target, f"{local}:{port}"]
    with open(OUTPUT / "port-forward.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(f"port {port} of {target} is forwarded", 30, lambda: accepts(local))
        yield f"http://127.0.0.1:{local}"
    finally:
        process.terminate()
        process.wait()


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
