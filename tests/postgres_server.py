"""A PostgreSQL server of one's own: Debian's programs, a folder, a free port. For tests and benches."""

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile
import time

# The server refuses to run as root; this is Debian's user for it.
USER = "postgres"


def programs():
    """The folder with the newest server's programs."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    if on_path is None:
        raise SystemExit("no PostgreSQL server is installed; `make setup` as root installs it")
    return pathlib.Path(on_path).resolve().parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class PostgresServer:
    """Runs between enter and leave. Trusts whoever comes; the database is `postgres`.

    Its folder is the system's for temporary files, because the checkout may be closed to its user.
    """

    def __init__(self, settings=()):
        self.folder, self.settings = None, list(settings)
        self.port, self.process = free_port(), None

    def program(self, name):
        return str(programs() / name)

    def uri(self, database="postgres"):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tg-pg-"))
        self._give_away()
        self._run([self.program("initdb"), "-D", str(self.folder / "data"), "-U", USER, "-A", "trust", "-N"])
        self.start()
        return self

    def start(self):
        command = [self.program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        for setting in ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", *self.settings]:
            command += ["-c", setting]
        log = open(self.folder / "log", "ab")  # noqa: SIM115 - the server writes to it as long as it lives
        self.process = subprocess.Popen(command, stdout=log, stderr=log, **self._as_user())
        ready = [self.program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.call(ready) != 0:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended: {(self.folder / 'log').read_text(errors='replace')}")
            time.sleep(0.05)

    def sql(self, text, database="postgres"):
        """Runs statements; what they answer, one tab-separated line a row."""
        command = [self.program("psql"), "-qXAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", self.uri(database)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{text[:200]}: {done.stderr}")
        return done.stdout

    def cpu_seconds(self):
        """What the server took of the processors so far, its ended and its living backends included."""
        clock = os.sysconf("SC_CLK_TCK")
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                # The name before them may hold spaces: what is counted follows its closing parenthesis.
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parent, user, system, ended_user, ended_system = (int(fields[at]) for at in (1, 11, 12, 13, 14))
            if int(stat.parent.name) == self.process.pid:
                ticks += user + system + ended_user + ended_system
            elif parent == self.process.pid:
                ticks += user + system
        return ticks / clock

    @contextlib.contextmanager
    def on_core(self, core):
        """Meanwhile the server, and what this process starts, have this core alone."""
        before = os.sched_getaffinity(0)
        self._move({core})
        try:
            yield
        finally:
            self._move(before)

    def _move(self, cores):
        os.sched_setaffinity(0, cores)
        # New backends are on the cores of the process that starts them; those that live stay where they are.
        os.sched_setaffinity(self.process.pid, cores)

    def __exit__(self, *_):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as_user(self):
        if os.geteuid() != 0:
            return {}
        user = pwd.getpwnam(USER)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}

    def _give_away(self):
        if os.geteuid() != 0:
            return
        user = pwd.getpwnam(USER)
        os.chown(self.folder, user.pw_uid, user.pw_gid)

    def _run(self, command):
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_user())
        if done.returncode != 0:
            raise SystemExit(f"{command[0]}: {done.stderr}")
