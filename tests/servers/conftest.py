"""Sessions against other people's model servers: llama.cpp with a tiny model, LiteLLM's proxy before the scripted one.

Builds nothing: `cargo build -p ostler -p ostler-testkit` comes first. Runs in an environment of its own
(`cargo xtask setup` makes it below target/), because these servers bring many packages.
"""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import anthropic
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = "the-key-of-the-server-tests-0123456789abcdef"
START_SECONDS = 120

for shared in ("sdk", "python_support"):
    sys.path.insert(0, str(ROOT / "tests" / shared))

from servers import ostler_server  # noqa: E402


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url, headers=()):
    with contextlib.suppress(OSError, urllib.error.URLError):
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=5) as answer:
            return answer.status == 200
    return False


@contextlib.contextmanager
def running(command, work, ready, **more):
    """A program that runs until the block ends, whose log is shown if it does not become ready."""
    log = pathlib.Path(work) / (pathlib.Path(str(command[0])).name + "-%d.log" % time.monotonic_ns())
    with open(log, "w") as out:
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out, start_new_session=True, **more)
    try:
        end = time.monotonic() + START_SECONDS
        while not ready():
            assert process.poll() is None, "it ended:\n" + log.read_text()[-4000:]
            assert time.monotonic() < end, "it is not ready:\n" + log.read_text()[-4000:]
            time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def work():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        yield pathlib.Path(path)


@contextlib.contextmanager
def ostler(settings="", **variables):
    """A server with these settings and variables; gives a client of it."""
    with ostler_server(settings, OSTLER_BOOTSTRAP_API_KEY=KEY, **variables) as server:
        yield anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=120)


@pytest.fixture()
def session_of():
    def make(client, model, tools=()):
        environment = client.beta.environments.create(name="place", config={"type": "cloud"})
        agent = client.beta.agents.create(name="tester", model=model, tools=list(tools))
        return client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    return make
