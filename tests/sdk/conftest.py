"""The official SDK against the built binary: a model server, a server for each dialect of models, a client.

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

import anthropic
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "target" / "debug"
KEY = "the-key-of-the-sdk-tests-0123456789abcdef"
START_SECONDS = 30
PRICES = '[prices."priced-model"]\ninput = 1.0\noutput = 10.0\ncache_read = 0.1\n'


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


def wait_until(what, holds, seconds=START_SECONDS):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "%s: not within %d seconds" % (what, seconds)
        time.sleep(0.05)


@pytest.fixture(scope="session")
def model_url():
    process = subprocess.Popen([PROGRAMS / "model-server"], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()


@pytest.fixture(scope="session", params=["anthropic", "openai"])
def server(request, model_url):
    """The URL of a running server; everything it started is gone afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        data = pathlib.Path(work) / "data"
        config = pathlib.Path(work) / "ostler.toml"
        config.write_text(PRICES)
        provider = {"anthropic": {"ANTHROPIC_BASE_URL": model_url}, "openai": {"OPENAI_BASE_URL": model_url + "/v1"}}[request.param]
        env = {"PATH": os.environ["PATH"], "HOME": work, "OSTLER_BOOTSTRAP_API_KEY": KEY, **provider}
        command = [PROGRAMS / "ostler", "serve", "--config", config, "--data-dir", data, "--listen", "127.0.0.1:0"]
        with open(pathlib.Path(work) / "log", "w") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        access = data / "server.json"
        wait_until("the server starts", lambda: access.exists() or process.poll() is not None)
        assert process.poll() is None, (pathlib.Path(work) / "log").read_text()
        yield json.loads(access.read_text())["url"]
        process.send_signal(signal.SIGTERM)
        process.wait(START_SECONDS)
        for _ in range(5):
            left = processes_of(data)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            if not left:
                break
            time.sleep(0.1)


@pytest.fixture(scope="session")
def client(server):
    return anthropic.Anthropic(base_url=server, api_key=KEY, max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def violations(model_url):
    """What the model server found wrong with the requests that it got."""
    def read():
        with urllib.request.urlopen(model_url + "/_violations") as answer:
            return json.load(answer)["data"]
    return read


@pytest.fixture(scope="session")
def open_gate(model_url):
    def open_it(name):
        urllib.request.urlopen(urllib.request.Request("%s/_gates/%s/open" % (model_url, name), method="POST")).close()
    return open_it


@pytest.fixture(scope="session")
def environment(client):
    return client.beta.environments.create(name="place", config={"type": "cloud"})


@pytest.fixture()
def session_with(client, environment):
    """Makes a session whose agent has these tools."""
    def make(tools=()):
        agent = client.beta.agents.create(name="tester", model="scripted-model", tools=list(tools))
        return client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    return make
