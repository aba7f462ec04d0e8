"""Generated requests against the real binary: does it do what its description says?

    python tests/openapi/run.py            2,000 cases or more
    OSTLER_OPENAPI_CASES=10000 OSTLER_OPENAPI_SEED=7 python tests/openapi/run.py

Builds nothing: `cargo build -p ostler -p ostler-testkit` comes first. Runs in an environment of its own
(`cargo xtask setup` makes it below target/).
"""
import collections
import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAMS = ROOT / "target" / "debug"
KEY = "the-key-of-the-openapi-tests-0123456789abcdef"
BETA = "managed-agents-2026-04-01"
START_SECONDS = 60
SPARE = 30
# A vault holds 20, and generated requests add some.
SPARE_CREDENTIALS = 8
# With a price there are budgets.
SETTINGS = '[prices."scripted-model"]\ninput = 1.0\noutput = 10.0\ncache_read = 0.1\n'
MESSAGE = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}


@contextlib.contextmanager
def model_server():
    process = subprocess.Popen([PROGRAMS / "model-server"], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def spawner_of(data):
    """The spawner outlives the server on purpose: the processes that have files of the directory open."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if any(os.readlink(file).startswith(str(data)) for file in (entry / "fd").iterdir()):
                    yield int(entry.name)


@contextlib.contextmanager
def server(model_url, work):
    """The URL of a running server; everything it started is gone afterwards."""
    data, log, config = work / "data", work / "log", work / "ostler.toml"
    config.write_text(SETTINGS)
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "OSTLER_BOOTSTRAP_API_KEY": KEY, "ANTHROPIC_BASE_URL": model_url}
    with open(log, "w") as out:
        command = [PROGRAMS / "ostler", "serve", "--config", config, "--data-dir", data, "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        access, end = data / "server.json", time.monotonic() + START_SECONDS
        while not access.exists():
            assert process.poll() is None and time.monotonic() < end, "the server does not start:\n" + log.read_text()
            time.sleep(0.05)
        yield json.loads(access.read_text())["url"]
        assert process.poll() is None, "the server ended:\n" + log.read_text()[-4000:]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_SECONDS)
        for how in (signal.SIGTERM, signal.SIGKILL):
            for pid in spawner_of(data):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            end = time.monotonic() + START_SECONDS
            while any(True for _ in spawner_of(data)) and time.monotonic() < end:
                time.sleep(0.05)


def call(url, method, path, body=None, **more):
    headers = {"x-api-key": KEY, "anthropic-beta": BETA}
    request = urllib.request.Request(url + path, method=method, headers=headers, data=None if body is None else json.dumps(body).encode())
    return urllib.request.urlopen(request, timeout=30, **more)


def made(url, path, body):
    with call(url, "POST", path, body) as answer:
        return json.load(answer)["id"]


def things(url):
    """Ids of what generated requests may use: what stays, and what they may end."""
    agent = lambda: made(url, "/v1/agents", {"name": "kept", "model": "scripted-model"})
    environment = lambda: made(url, "/v1/environments", {"name": "kept"})
    kept = {"agent_id": agent(), "environment_id": environment()}
    session = lambda: made(url, "/v1/sessions", {"agent": kept["agent_id"], "environment_id": kept["environment_id"]})
    key = lambda: made(url, "/v1/x/api_keys", {"name": "spare"})
    kept["session_id"] = made(url, "/v1/sessions", {"agent": kept["agent_id"], "environment_id": kept["environment_id"], "initial_events": [MESSAGE]})
    with call(url, "GET", "/v1/sessions/%s/threads" % kept["session_id"]) as answer:
        kept["thread_id"] = json.load(answer)["data"][0]["id"]
    with call(url, "GET", "/v1/models") as answer:
        kept["model_id"] = json.load(answer)["data"][0]["id"]
    vault = lambda: made(url, "/v1/vaults", {"display_name": "kept"})
    kept["vault_id"] = vault()
    names = itertools.count()
    variable = lambda: {"type": "environment_variable", "secret_name": "KEPT_%d" % next(names), "secret_value": "s", "networking": {"type": "unrestricted"}}
    credential = lambda: made(url, "/v1/vaults/%s/credentials" % kept["vault_id"], {"auth": variable()})
    kept["credential_id"] = credential()
    # A question about a request needs a sandbox that sent one.
    kept["confirmation_id"] = "conf_unknown"
    make = {"vault_id": vault, "credential_id": credential, "agent_id": agent, "environment_id": environment, "session_id": session, "api_key_id": key}
    return kept, {name: [one() for _ in range(SPARE_CREDENTIALS if name == "credential_id" else SPARE)] for name, one in make.items()}


def read_streams(url, kept):
    """The beginning of both streams, which generated requests cannot read to the end."""
    session, thread = kept["session_id"], kept["thread_id"]
    for path in ("/v1/sessions/%s/events/stream?after=0" % session, "/v1/sessions/%s/threads/%s/stream?after=0" % (session, thread)):
        with call(url, "GET", path) as answer:
            assert answer.headers.get_content_type() == "text/event-stream", answer.headers["content-type"]
            line = next(line for line in answer if line.startswith(b"data: "))
            assert json.loads(line[len(b"data: "):])["type"] == "user.message", line
    print("stream_events, stream_thread_events: their answers never end; read up to the first event here, generated only up to their errors")


def generate(url, work, wanted, kept, spare):
    """Runs schemathesis; its exit code and the number of cases."""
    with urllib.request.urlopen(url + "/openapi.json") as answer:
        operations = sum(len(item) for item in json.load(answer)["paths"].values())
    left_out, output = work / "left-out", work / "output"
    left_out.touch()
    command = [pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "--no-color",
               "run", url + "/openapi.json", "--max-examples", -(-wanted // operations), "--continue-on-failure",
               "--seed", os.environ.get("OSTLER_OPENAPI_SEED", "1"), *sys.argv[1:]]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1",
           "OSTLER_OPENAPI_KEY": KEY, "OSTLER_OPENAPI_KEPT": json.dumps(kept), "OSTLER_OPENAPI_SPARE": json.dumps(spare),
           "OSTLER_OPENAPI_LEFT_OUT": str(left_out)}
    with open(output, "w") as out:
        code = subprocess.run([str(word) for word in command], env=env, cwd=work, stdout=out, stderr=subprocess.STDOUT).returncode
    text = output.read_text()
    print(text)
    for why, count in sorted(collections.Counter(left_out.read_text().splitlines()).items()):
        print("left out %6d times: %s" % (count, why))
    found = re.search(r"(\d+) generated", text)
    return code, int(found.group(1)) if found else 0


def main():
    wanted = int(os.environ.get("OSTLER_OPENAPI_CASES", "2000"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary, model_server() as model_url:
        work = pathlib.Path(temporary)
        with server(model_url, work) as url:
            kept, spare = things(url)
            read_streams(url, kept)
            code, cases = generate(url, work, wanted, kept, spare)
        log = (work / "log").read_text()
    panics = [line for line in log.splitlines() if "panicked" in line]
    print("\n".join(panics))
    passed = code == 0 and cases >= wanted and not panics
    print("openapi: %d generated cases of %d wanted, %d panics: %s" % (cases, wanted, len(panics), "passed" if passed else "FAILED"))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
