"""Rules about single requests, requests that wait for a person, and caps, through real programs in a sandbox."""
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request

import pytest
from conftest import KEY
from servers import PROGRAMS, wait_until

WAIT_SECONDS = 60


def call(server, method, path, body=None):
    """Status and body of a request to the API."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + path, data, headers, method=method), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture()
def ruled(session, client):
    """A session whose environment has such settings of egress."""
    def make(*allowed, **egress):
        inside = session(*allowed)
        client.beta.environments.update(inside.environment.id, extra_body={"egress": egress})
        return inside
    return make


def confirmations(server, inside):
    status, page = call(server, "GET", "/v1/x/sessions/%s/confirmations" % inside.id)
    assert status == 200, page
    return page["data"]


def waiting(server, inside, count=1):
    found = []

    def are_there():
        found[:] = [one for one in confirmations(server, inside) if one["answer"] is None]
        return len(found) == count
    wait_until("%d requests wait for a person" % count, are_there, WAIT_SECONDS)
    return found


def answer(server, inside, confirmation, result, remember="once"):
    path = "/v1/x/sessions/%s/confirmations/%s" % (inside.id, confirmation["id"])
    return call(server, "POST", path, {"result": result, "remember": remember})


def kinds(client, inside):
    return {event.type for event in client.beta.sessions.events.list(inside.id)}


def test_rules_decide_about_each_request(ruled, hosts):
    inside = ruled("api.test", rules=[
        {"host": "api.test", "methods": ["GET", "HEAD"], "path": "/echo/**", "action": "allow"},
        {"host": "api.test", "action": "deny"},
        {"host": "plain.test", "path": "/echo", "action": "allow"},
    ])
    before = len(hosts["api.test"].got)
    for how in ("", "--noproxy '*' "):
        assert "/echo?x" in inside.run("curl -sS %shttps://api.test/echo?x" % how)
        error = json.loads(inside.run("curl -sS %s-X POST https://api.test/echo" % how))["error"]
        assert (error["code"], error["host"], error["rule"]) == ("rule_denies", "api.test", "egress.rules[1]: deny api.test")
        assert "egress.rules" in error["remedy"]
        error = json.loads(inside.run("curl -sS %s--path-as-is https://api.test/echo/%%2e%%2e/drip" % how))["error"]
        assert error["code"] == "rule_denies"
        error = json.loads(inside.run("curl -sS %s--path-as-is https://api.test/echo/..%%2fdrip" % how))["error"]
        assert error["code"] == "ambiguous" and "encoded slash" in error["rule"]
    # One connection, several requests.
    printed = inside.run("curl -sS https://api.test/echo?one https://api.test/drip https://api.test/echo?two")
    assert "/echo?one" in printed and "rule_denies" in printed and "/echo?two" in printed
    assert {got["path"].partition("?")[0] for got in hosts["api.test"].got[before:]} == {"/echo"}
    assert "/echo" in inside.run("curl -sS http://plain.test/echo")
    assert "host_not_allowed" in inside.run("curl -sS http://plain.test/other")


def test_a_rule_that_changes_holds_at_once(ruled, client):
    inside = ruled("api.test", rules=[{"host": "api.test", "path": "/echo", "action": "deny"}])
    assert "rule_denies" in inside.run("curl -sS https://api.test/echo")
    client.beta.environments.update(inside.environment.id, extra_body={"egress": {"rules": []}})
    assert "host: api.test" in inside.run("curl -sS https://api.test/echo").lower()


def test_what_cannot_be_a_rule_is_refused_when_it_is_saved(server):
    for rule in ({"host": "*.com"}, {"host": "*.co.uk"}, {"host": "*"}, {"host": "a.test", "path": "x"}, {"host": "a.test", "path": "/a%2fb"}, {"host": "a.test", "ports": [0]}):
        status, body = call(server, "POST", "/v1/environments", {"name": "e", "egress": {"rules": [{"action": "allow", **rule}]}})
        assert (status, body["error"]["type"]) == (400, "invalid_request_error") and "egress.rules[0]" in body["error"]["message"], (rule, body)


def test_all_is_inspected_where_that_is_asked_for(ruled, hosts):
    hidden = "curl -sS -H 'host: evil.test' https://api.test/echo?hidden"
    assert "evil.test" in ruled("api.test").run(hidden).lower(), "what is closed is not seen"
    before = len(hosts["api.test"].got)
    inside = ruled("api.test", inspect="all")
    assert json.loads(inside.run(hidden))["error"]["code"] == "names_differ"
    assert len(hosts["api.test"].got) == before
    assert "/echo" in inside.run("curl -sS https://api.test/echo")


def test_a_person_answers_once_and_for_the_session(ruled, client, server, hosts):
    inside = ruled(rules=[{"host": "api.test", "methods": ["POST"], "path": "/echo", "action": "ask"}])
    post = "curl -sS -d hello 'https://api.test/echo?token=not-for-people'"
    before = len(hosts["api.test"].got)
    turn = inside.start(post)
    [asked] = waiting(server, inside)
    assert (asked["host"], asked["port"], asked["method"], asked["path"], asked["rule"]) == ("api.test", 443, "POST", "/echo", "ask POST api.test/echo")
    assert "not-for-people" not in json.dumps(asked) and len(hosts["api.test"].got) == before
    assert answer(server, inside, asked, "maybe")[0] == 400
    status, answered = answer(server, inside, asked, "allow")
    assert (status, answered["answer"]["result"], answered["answer"]["remember"]) == (200, "allow", "once")
    assert "hello" in inside.result(turn)
    assert answer(server, inside, asked, "allow")[0] in (400, 404), "it has its answer"
    assert confirmations(server, inside) == [], "it is used up"

    turn = inside.start(post)
    [again] = waiting(server, inside)
    assert again["id"] != asked["id"]
    assert answer(server, inside, again, "deny", "session")[0] == 200
    error = json.loads(inside.result(turn))["error"]
    assert error["code"] == "confirmation_denied" and error["rule"].startswith("egress.rules[0]: ask")
    assert json.loads(inside.run(post))["error"]["code"] == "confirmation_denied", "it is remembered"
    assert [one["id"] for one in confirmations(server, inside)] == [again["id"]]
    assert len(hosts["api.test"].got) == before + 1
    assert not [kind for kind in kinds(client, inside) if "confirm" in kind], "clients see events that they know"


def test_the_command_line_answers(ruled, server):
    inside = ruled(rules=[{"host": "api.test", "action": "ask"}])
    turn = inside.start("curl -sS https://api.test/echo")
    [asked] = waiting(server, inside)
    ostler = lambda *words: subprocess.run([str(PROGRAMS / "ostler"), "sessions", *words], env={**os.environ, "OSTLER_API_KEY": KEY, "OSTLER_URL": server.url}, capture_output=True, text=True, timeout=60)
    shown = ostler("show", inside.id)
    assert "confirm request CONNECT api.test:443" in shown.stdout, shown
    assert asked["id"] in ostler("list", "--stuck").stdout, "its session runs, and waits for a person"
    told = ostler("confirm", inside.id, "--allow", "--remember")
    assert told.returncode == 0 and "CONNECT api.test:443" in told.stderr and "for the whole session" in told.stdout, told
    assert "/echo" in inside.result(turn)
    assert "/echo" in inside.run("curl -sS https://api.test/echo?more")
    assert "path" not in asked, "of a closed connection only the host is seen"


@pytest.mark.parametrize("dies", ["egress", "server"])
def test_no_question_and_no_answer_is_lost(ruled, server, egress, dies):
    inside = ruled(rules=[{"host": "api.test", "methods": ["POST"], "action": "ask"}])
    post = "curl -sS --retry 20 --retry-all-errors --retry-delay 1 -d hello https://api.test/echo"
    turn = inside.start(post)
    [asked] = waiting(server, inside)

    def die():
        if dies == "egress":
            first = egress()
            os.kill(first, signal.SIGKILL)
            wait_until("egress is back", lambda: egress() not in (None, first))
        else:
            server.kill()
            server.start()
    die()
    assert [one["id"] for one in waiting(server, inside)] == [asked["id"]], "it is asked once"
    assert answer(server, inside, asked, "allow", "session")[0] == 200
    assert "hello" in inside.result(turn)
    die()
    assert [one["id"] for one in confirmations(server, inside)] == [asked["id"]]
    assert "hello" in inside.run(post), "the answer is remembered"


def test_a_sandbox_moves_so_much_and_no_more(ruled, client, hosts):
    hosts["api.test"].answers["/big"] = lambda handler: handler.reply(b"x" * (3 << 19))
    inside = ruled("api.test", transfer_mib=2)
    printed = inside.run("for n in 1 2 3; do curl -sS https://api.test/big | wc -c; done; curl -sS --noproxy '*' https://api.test/echo; curl -sS http://api.test/echo")
    error = json.loads(printed.strip().splitlines()[-1])["error"]
    assert error["code"] == "too_much" and error["rule"] == "egress.transfer_mib" and "transfer_mib" in error["remedy"], printed
    assert printed.count(str(3 << 19)) == 1, printed
    client.beta.environments.update(inside.environment.id, extra_body={"egress": {"transfer_mib": 100}})
    assert "/echo" in inside.run("curl -sS https://api.test/echo")


def test_a_sandbox_that_is_slowed_gets_all_and_slows_nobody_else(ruled, hosts, session):
    hosts["api.test"].answers["/some"] = lambda handler: handler.reply(b"x" * (96 << 10))
    slow, other = ruled("api.test", rate_kib=32), session("api.test")
    turn = slow.start("curl -sS https://api.test/some https://api.test/some | wc -c")
    assert "/echo" in other.run("curl -sS https://api.test/echo")
    assert slow.result(turn).strip() == str(2 * (96 << 10))
