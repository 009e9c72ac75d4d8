"""Real services for tests that are driven from Python: a broker and an S3 server on free ports of loopback.

Programs are looked for in TIDEGATE_SERVICES, else in target/venv/bin.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
ACCESS_KEY = SECRET_KEY = "test"
START_LIMIT_SECONDS = 60
# SeaweedFS puts a service's gRPC port this far above its HTTP port.
TWIN = 10_000


def program(name):
    return os.path.join(os.environ.get("TIDEGATE_SERVICES") or ROOT / "target/venv/bin", name)


def binary():
    built = sorted(ROOT.glob("target/*/release/tidegate"))
    return os.environ.get("TIDEGATE_BIN") or str(built[0] if built else "tidegate")


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count):
    """Ports below the ephemeral range whose twins are free as well."""
    begin = os.getpid() * 97 % 9_600
    ports = (10_240 + (begin + step) % 9_600 for step in range(9_600))
    free = (port for port in ports if is_free(port) and is_free(port + TWIN))
    return [next(free) for _ in range(count)]


@contextlib.contextmanager
def running(command, log, is_up, **options):
    """A process for the time of a block; entered when `is_up()`."""
    with open(log, "ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not come up; see {log}")
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def greets(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as stream:
        return stream.recv(5) == b"INFO "
    return False


@contextlib.contextmanager
def nats(folder):
    """The address of a nats-server with its data in `folder`."""
    (port,) = free_ports(1)
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    command = [program("nats-server"), "-js", "-sd", f"{folder}/store", "-a", "127.0.0.1", "-p", str(port)]
    with running(command, f"{folder}/nats.log", lambda: greets(port)):
        yield f"nats://127.0.0.1:{port}"


def s3_is_up(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def s3(folder, bucket):
    """The endpoint of an S3 server with one bucket and its data in `folder`."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    services = ("s3", "master", "filer", "volume", "admin")
    ports = dict(zip(services, free_ports(len(services))))
    command = [program("weed"), "-logtostderr=true", "mini", f"-dir={folder}", f"-bucket={bucket}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false"]
    command += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    for service, port in ports.items():
        command += [f"-{service}.port={port}", f"-{service}.port.grpc={port + TWIN}"]
    keys = {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    with running(command, f"{folder}/weed.log", lambda: s3_is_up(ports["s3"]), env=keys, cwd=folder):
        with environment(AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY):
            wait_until_writable(bucket)
            yield endpoint


def wait_until_writable(bucket):
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while True:
        try:
            with s3_files().open_output_stream(f"{bucket}/.ready") as stream:
                stream.write(b"yes")
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def s3_files():
    """The S3 server of the environment as a file system."""
    import pyarrow.fs

    return pyarrow.fs.S3FileSystem(
        endpoint_override=os.environ["AWS_ENDPOINT_URL"],
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
    )


@contextlib.contextmanager
def environment(**variables):
    """Variables for the time of a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
