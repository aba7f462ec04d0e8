"""The key of vaults: exchanged while everything goes on, exchanged by whoever is killed, and gone."""
import os
import signal
import stat
import subprocess

import anthropic
import pytest
from conftest import KEY, Session
from servers import PROGRAMS, model_server, ostler_server, wait_until
from test_secrets import VALUE, traces

ASK = "curl -sS --retry 5 --retry-all-errors -H \"x-key: $TOKEN\" https://api.test/echo"


def rotate(server, *flags):
    """Begins to exchange the key, as its operator does."""
    command = [PROGRAMS / "ostler", "vault", "rotate-key", "--data-dir", server.data, "--config", server.work / "ostler.toml", *flags]
    return subprocess.Popen(command, env=server.env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def rotated(server, *flags):
    process = rotate(server, *flags)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    return said


def keys(server):
    """The lines of the key file."""
    path = server.work / "data.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]


def last(hosts):
    return hosts["api.test"].last("/echo")["headers"]["x-key"]


def test_a_key_is_exchanged_while_everything_goes_on(session, secret, hosts, server, egress):
    secret("TOKEN", VALUE, "api.test")
    living = session("api.test")
    living.run(ASK)
    assert last(hosts) == VALUE
    before = keys(server)
    drips = lambda: len([got for got in hosts["api.test"].got if got["path"] == "/drip"])
    earlier = drips()
    dripping = living.start("curl -sS -N -H \"x-key: $TOKEN\" https://api.test/drip | head -n 40 | tail -n 1; echo ended ${PIPESTATUS[0]}")
    wait_until("the answer begins", lambda: drips() > earlier)
    said = rotated(server)
    now = keys(server)
    assert [line[0] for line in now] == ["ostler-key-1", "ostler-authority-1"] and now[0][1] != before[0][1]
    assert not any(word in said for line in now for word in line[2:]) and now[1][1] not in said, "nothing secret is said"
    printed = living.result(dripping)
    assert "0039" in printed, "what was under way went on: %s" % printed
    # The sandbox from before trusts egress as before, a new one does, and so does one that meets another egress.
    living.run(ASK)
    assert last(hosts) == VALUE
    first = egress()
    os.kill(first, signal.SIGKILL)
    wait_until("egress is back", lambda: egress() not in (None, first))
    for inside in (living, session("api.test")):
        hosts["api.test"].got.clear()
        assert VALUE not in inside.run(ASK)
        assert last(hosts) == VALUE
    server.kill()
    server.start()
    hosts["api.test"].got.clear()
    living.run(ASK)
    assert last(hosts) == VALUE
    assert traces(server, VALUE) == []


def test_no_request_misses_its_secret_while_keys_are_exchanged(session, secret, hosts, server):
    secret("TOKEN", VALUE, "api.test")
    inside, host, words = session("api.test"), hosts["api.test"], ["go"]
    host.answers["/loop"] = lambda handler: handler.reply(words[-1])
    asked = lambda: [got["headers"]["x-key"] for got in host.got if got["path"] == "/loop"]
    running = inside.start("until [ \"$said\" = stop ]; do said=$(curl -sS -H \"x-key: $TOKEN\" https://api.test/loop) || { echo failed; break; }; done; echo ended")
    for _ in range(3):
        count = len(asked())
        wait_until("requests come", lambda: len(asked()) > count + 1)
        rotated(server)
    count = len(asked())
    wait_until("requests still come", lambda: len(asked()) > count + 1)
    words.append("stop")
    printed = inside.result(running)
    assert printed.strip() == "ended", printed
    assert set(asked()) == {VALUE}


@pytest.fixture()
def own(settings):
    """A server of the test's own, which it may stop and break."""
    with model_server() as model, ostler_server(settings, OSTLER_BOOTSTRAP_API_KEY=KEY, ANTHROPIC_BASE_URL=model.url) as running:
        yield running


def inside(server, *hosts, secrets=()):
    """A session of a server, with secrets in a vault."""
    client = anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0)
    vault = client.beta.vaults.create(display_name="v")
    for name, host in secrets:
        client.beta.vaults.credentials.create(vault.id, auth={
            "type": "environment_variable", "secret_name": name, "secret_value": VALUE,
            "networking": {"type": "limited", "allowed_hosts": [host]}})
    return client, vault, Session(client, hosts, [vault.id])


def stop(server):
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0


def test_whoever_is_killed_while_it_exchanges_the_key_is_finished_by_the_next(own, hosts):
    _, _, session = inside(own, "api.test", secrets=[("TOKEN", "api.test")])
    session.run(ASK)
    assert last(hosts) == VALUE
    # The server dies when it has said so many lines; then whoever stands in for it does.
    for is_served in (True, False):
        for lines in (1, 2, 3):
            if not is_served:
                stop(own)
            process = rotate(own)
            said = [process.stderr.readline() for _ in range(lines)]
            assert all(said), said
            (own.process if is_served else process).kill()
            process.communicate(timeout=60)
            own.process.wait(30)
            own.start()
            hosts["api.test"].got.clear()
            session.run(ASK)
            assert last(hosts) == VALUE, (is_served, lines)
            rotated(own)
            assert [line[0] for line in keys(own)] == ["ostler-key-1", "ostler-authority-1"]
            hosts["api.test"].got.clear()
            session.run(ASK)
            assert last(hosts) == VALUE, (is_served, lines)
    assert sorted(path.name for path in own.work.iterdir() if "key" in path.name) == ["data.key"]
    stop(own)
    before = keys(own)
    assert "keeps its former keys" in rotated(own, "--keep-former")
    assert [line[0] for line in keys(own)] == ["ostler-key-1", "ostler-key-1", "ostler-authority-1"] and keys(own)[1] == before[0]
    own.start()
    hosts["api.test"].got.clear()
    session.run(ASK)
    assert last(hosts) == VALUE


def test_a_key_of_a_command_is_exchanged_with_two_keys_in_what_it_prints(settings, hosts, tmp_path):
    kept = tmp_path / "kept"
    ostler = lambda *words, **more: subprocess.run([PROGRAMS / "ostler", *words], capture_output=True, text=True, timeout=60, **more)
    kept.write_text(ostler("vault", "new-key", "--data-dir", tmp_path / "none", env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}).stdout)
    settings = "[vault]\nkey_command = \"cat %s\"\n" % kept + settings
    with model_server() as model, ostler_server(settings, OSTLER_BOOTSTRAP_API_KEY=KEY, ANTHROPIC_BASE_URL=model.url) as server:
        _, _, session = inside(server, "api.test", secrets=[("TOKEN", "api.test")])
        where = ("--data-dir", server.data, "--config", server.work / "ostler.toml")
        refused = rotate(server)
        assert "ostler vault new-key" in refused.communicate(timeout=60)[1] and refused.returncode == 1
        kept.write_text(ostler("vault", "new-key", *where, env=server.env).stdout)
        old = kept.read_text().splitlines()[1]
        assert old.split()[1] in rotated(server)
        session.run(ASK)
        assert last(hosts) == VALUE
        kept.write_text("".join(line + "\n" for line in kept.read_text().splitlines() if line != old))
        assert "not needed any more" in rotated(server)
        hosts["api.test"].got.clear()
        session.run(ASK)
        assert last(hosts) == VALUE
        assert not (server.work / "data.key").exists()


def errors(session):
    return [event.error for event in session.client.beta.sessions.events.list(session.id) if event.type == "session.error"]


def test_without_the_key_everything_works_but_what_it_opened(own, hosts):
    client, vault, session = inside(own, "api.test", secrets=[("TOKEN", "api.test")])
    session.run(ASK)
    stop(own)
    (own.work / "data.key").rename(own.work / "data.key.kept-elsewhere")
    own.start()
    log = (own.work / "log").read_text
    wait_until("the log says so", lambda: "sealed for a key that is not here" in log())
    listed = lambda: [credential.model_dump().get("unusable") for credential in client.beta.vaults.credentials.list(vault.id)]
    assert "update it" in listed()[0]
    hosts["api.test"].got.clear()
    placeholder = session.run("printf %s $TOKEN")
    session.run("curl -sSk -H \"x-key: $TOKEN\" https://api.test/echo")
    assert [got["headers"]["x-key"] for got in hosts["api.test"].got] == [placeholder]
    wait_until("the session is told", lambda: errors(session))
    session.run(ASK)
    credential = next(iter(client.beta.vaults.credentials.list(vault.id)))
    told = errors(session)
    assert len(told) == 1 and told[0].type == "unknown_error" and credential.id in told[0].message
    client.beta.vaults.credentials.update(credential.id, vault_id=vault.id, auth={"type": "environment_variable", "secret_value": VALUE})
    assert listed() == [None]
    fresh = Session(client, ["api.test"], [vault.id])
    fresh.run(ASK)
    assert last(hosts) == VALUE and errors(fresh) == []
    assert log().count("sealed for a key that is not here") == 1


def test_a_session_is_told_once_of_a_secret_that_leads_nowhere(session, secret):
    credential = secret("TOKEN", VALUE, "api.test")
    secret("OTHER", VALUE, "other.test")
    one = session("other.test")
    one.run("true")
    wait_until("the session is told", lambda: errors(one))
    one.run("true")
    told = errors(one)
    assert [(error.type, error.credential_id, error.vault_id) for error in told] == [("credential_host_unreachable_error", credential.id, credential.vault_id)]
    assert "allowed_hosts" in told[0].message
