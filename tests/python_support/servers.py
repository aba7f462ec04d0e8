"""The programs that Python tests talk to: the scripted model server, and `ostler serve` itself.

Builds nothing: `cargo build -p ostler -p ostler-testkit` comes first.
"""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "target" / "debug"
START_SECONDS = 30


def wait_until(what, holds, seconds=START_SECONDS):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "%s: not within %d seconds" % (what, seconds)
        time.sleep(0.05)


def processes_of(data_dir):
    """Spawner and sandboxes outlive the server on purpose: who has files of the directory open, or is on record there."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if any(os.readlink(file).startswith(str(data_dir)) for file in (entry / "fd").iterdir()):
                    found.add(int(entry.name))
    for record in data_dir.glob("sandboxes/*/init.json"):
        with contextlib.suppress(OSError, ValueError):
            pid = json.loads(record.read_text())["pid"]
            if pathlib.Path("/proc/%d/comm" % pid).read_text().strip() == "init" and pid > 1:
                found.add(pid)
    return found


class ModelServer:
    """What a test asks of the scripted model server."""

    def __init__(self, url):
        self.url = url

    def violations(self):
        """What it found wrong with the requests that it got."""
        with urllib.request.urlopen(self.url + "/_violations") as answer:
            return json.load(answer)["data"]

    def requests(self):
        """What it was asked: path, headers and body of each request."""
        with urllib.request.urlopen(self.url + "/_requests") as answer:
            return json.load(answer)["data"]

    def open_gate(self, name):
        urllib.request.urlopen(urllib.request.Request("%s/_gates/%s/open" % (self.url, name), method="POST")).close()


@contextlib.contextmanager
def model_server():
    process = subprocess.Popen([PROGRAMS / "model-server"], stdout=subprocess.PIPE, text=True)
    try:
        yield ModelServer(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()


class Server:
    """`ostler serve` on a data directory of its own. A start after a stop or a kill is on the same port."""

    def __init__(self, work, settings, variables):
        self.work, self.data = work, work / "data"
        (work / "ostler.toml").write_text(settings)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(work), **variables}
        self.listen, self.process, self.url = "127.0.0.1:0", None, None

    def start(self):
        access, log = self.data / "server.json", self.work / "log"
        # A server that was killed leaves it behind, which tells the next one how it ended; so look for a new one.
        before = access.stat() if access.exists() else None
        command = [PROGRAMS / "ostler", "serve", "--config", self.work / "ostler.toml", "--data-dir", self.data, "--listen", self.listen]
        with open(log, "a") as out:
            self.process = subprocess.Popen(command, env=self.env, stdout=out, stderr=out)

        def is_up():
            return access.exists() and (before is None or access.stat().st_mtime_ns != before.st_mtime_ns)
        wait_until("the server starts", lambda: is_up() or self.process.poll() is not None)
        assert self.process.poll() is None, log.read_text()
        self.url = json.loads(access.read_text())["url"]
        self.listen = self.url.removeprefix("http://")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Ends it and everything that it started."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(START_SECONDS)
        # A spawner that is asked takes its sandboxes with it; what does not hear is killed.
        for look in range(60):
            left = processes_of(self.data)
            if not left:
                break
            for pid in left if look == 0 or look > 50 else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if look == 0 else signal.SIGKILL)
            time.sleep(0.1)


@contextlib.contextmanager
def ostler_server(settings="", **variables):
    """A running server with these settings and environment variables; everything it started is gone afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        server = Server(pathlib.Path(work), settings, variables)
        try:
            server.start()
            yield server
        finally:
            server.end()
