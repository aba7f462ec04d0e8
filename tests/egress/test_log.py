"""What sandboxes did in the network, as it is listed, and what is counted of it."""
import json
import subprocess
import urllib.request

import test_mcp
from conftest import KEY
from servers import PROGRAMS, wait_until
from test_secrets import VALUE


def get(server, path):
    asked = urllib.request.Request(server.url + path, headers={"authorization": "Bearer " + KEY})
    return urllib.request.urlopen(asked).read().decode()


def lines(server, session, query=""):
    return json.loads(get(server, "/v1/x/sessions/%s/network?%s" % (session.id, query)))["data"]


def counted(server, name):
    found = [line.split()[1] for line in get(server, "/metrics").splitlines() if line.split()[0] == "ostler_egress_" + name]
    return int(found[0]) if found else 0


def test_what_went_out_is_listed_with_the_call_that_did_it(session, secret, server, client):
    credential = secret("TOKEN", VALUE, "api.test")
    inside = session("api.test", "other.test")
    allowed = counted(server, 'requests_total{code="allowed"}')
    denied = counted(server, 'requests_total{code="host_not_allowed"}')
    sent = counted(server, "sent_bytes_total")
    inside.run("curl -sS -H \"x-key: $TOKEN\" \"https://api.test/echo?q=hidden-query\" -d hidden-body; curl -sS https://other.test/echo; curl -sS https://evil.test/x; true")
    wait_until("it is listed", lambda: len(lines(server, inside)) == 3)
    evil, other, api = lines(server, inside)
    calls = [event.id for event in client.beta.sessions.events.list(inside.id) if event.type == "agent.tool_use"]
    assert (api["host"], api["method"], api["path"], api["status"], api["decision"]) == ("api.test", "POST", "/echo", 200, "allowed")
    assert api["credential_ids"] == [credential.id] and api["tool_use_id"] == calls[0]
    assert api["bytes_sent"] > 0 and api["bytes_received"] > 0
    # A connection that is not opened is a connection.
    assert (other["host"], other["method"], other["path"], other["status"]) == ("other.test", "CONNECT", None, None)
    assert (evil["host"], evil["decision"], evil["code"]) == ("evil.test", "denied", "host_not_allowed")
    whole = get(server, "/v1/x/sessions/%s/network" % inside.id)
    assert not [word for word in (VALUE, "hidden", "x-key") if word in whole], whole
    assert [line["host"] for line in lines(server, inside, "decision=denied")] == ["evil.test"]
    assert [line["host"] for line in lines(server, inside, "host=other.test")] == ["other.test"]
    assert counted(server, 'requests_total{code="allowed"}') == allowed + 2
    assert counted(server, 'requests_total{code="host_not_allowed"}') == denied + 1
    assert counted(server, "sent_bytes_total") > sent and counted(server, "sandboxes") >= 1
    assert not [word for word in ("api.test", inside.id, KEY) if word in get(server, "/metrics")]
    shown = subprocess.run([PROGRAMS / "ostler", "sessions", "network", inside.id, "--data-dir", server.data, "--decision", "allowed"],
                           env=server.env, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and "POST api.test/echo" in shown.stdout and "evil.test" not in shown.stdout, shown


def test_what_the_server_asks_for_a_call_names_the_call(client, session, server, hosts, far):
    hosts["search.test"].answers["/search"] = lambda handler: handler.reply('{"results": []}', content_type="application/json")
    inside = session("other.test")
    inside.result(inside.call("web_fetch", url="https://api.test/echo"))
    inside.result(inside.call("web_search", query="otters"))
    talking = test_mcp.Session(client)
    talking.say('TOOL mcp__far__add {"a": 20, "b": 22}\nSAY done')

    def used(session_id, kind):
        return [event.id for event in client.beta.sessions.events.list(session_id) if event.type == kind]
    wait_until("both are listed", lambda: len(lines(server, inside)) == 2)
    searched, fetched = lines(server, inside)
    assert [(line["rule"], line["tool_use_id"]) for line in (fetched, searched)] == list(zip(("web_fetch", "web_search"), used(inside.id, "agent.tool_use")))
    call, = used(talking.session.id, "agent.mcp_tool_use")
    wait_until("it is listed", lambda: call in [line["tool_use_id"] for line in lines(server, talking.session)])
    # What was asked to learn of the tools belongs to no call.
    assert [line["tool_use_id"] for line in lines(server, talking.session)][-1] is None


def test_the_last_lines_of_a_server_that_stops_are_kept(session, server):
    inside = session("api.test")
    inside.run("curl -sS https://evil.test/; true")
    server.process.terminate()
    server.process.wait(30)
    server.start()
    assert [line["host"] for line in lines(server, inside)] == ["evil.test"]

