"""The examples as a user runs them, against the built binary and a scripted model."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import anthropic
import pytest
from servers import ROOT, model_server, ostler_server

# Who is started in the background of a script ignores interrupts, and so would what is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

EXAMPLES = ROOT / "examples"
NODE = ROOT / "target" / "node"
KEY = "the-key-of-the-example-tests-0123456789abcdef"
RUN_SECONDS = 120


@pytest.fixture(scope="session")
def model():
    with model_server() as running:
        yield running


@pytest.fixture(scope="session")
def server(model):
    with ostler_server(OSTLER_BOOTSTRAP_API_KEY=KEY, ANTHROPIC_BASE_URL=model.url) as running:
        yield running


@pytest.fixture(scope="session")
def typescript():
    """A copy of the TypeScript examples that is built below target/, where node finds the packages beside it."""
    assert (NODE / "node_modules").is_dir(), "the node packages are not installed; `cargo xtask setup` installs them"
    place = NODE / "examples"
    shutil.rmtree(place, ignore_errors=True)
    ours = shutil.ignore_patterns("node_modules", "dist", ".gitignore")
    shutil.copytree(EXAMPLES / "typescript", place, ignore=ours)
    built = subprocess.run(["npm", "run", "--silent", "build"], cwd=place, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert built.returncode == 0, built.stdout + built.stderr
    return place


@pytest.fixture()
def start(server, request):
    """Starts an example by its file below examples/, with the variables that its README tells to set."""
    started = []

    def start_it(name, *arguments, **variables):
        language, _, file = name.partition("/")
        if language == "python":
            command = [sys.executable, "-u", EXAMPLES / name]
        elif language == "typescript":
            command = ["node", request.getfixturevalue("typescript") / "dist" / (pathlib.Path(file).stem + ".js")]
        else:
            command = [EXAMPLES / name]
        env = {"PATH": os.environ["PATH"], "OSTLER_URL": server.url, "OSTLER_API_KEY": KEY, **variables}
        if language == "curl":
            # It takes the prompt as its only argument.
            arguments = [word for word in arguments if word != "--prompt"]
        process = subprocess.Popen(
            [*command, *arguments], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start_it
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture()
def run(start):
    """Runs an example to its end and returns it with what it printed."""
    def run_it(name, *arguments, typed="", **variables):
        process = start(name, *arguments, **variables)
        out, err = process.communicate(typed, timeout=RUN_SECONDS)
        return subprocess.CompletedProcess(name, process.returncode, out, err)
    return run_it


@pytest.fixture(autouse=True)
def removes_what_it_made(server):
    """After every test: no session, no environment, no agent that is not archived."""
    yield
    client = anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0)
    kinds = (client.beta.sessions, client.beta.environments, client.beta.agents)
    left = [thing.id for kind in kinds for thing in kind.list() if getattr(thing, "archived_at", None) is None]
    assert left == []


def read_until(process, text):
    """What a running example prints, up to the line with this text."""
    lines = []
    while text not in (line := process.stdout.readline()):
        assert line, "".join(lines) + process.stderr.read()
        lines.append(line)
    return lines + [line]


__all__ = ["EXAMPLES", "KEY", "ROOT", "read_until"]
