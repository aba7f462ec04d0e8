"""MCP servers as a source of tools, with and without credentials."""
import concurrent.futures
import datetime
import json
import threading
import urllib.parse

import pytest
from servers import wait_until
from test_secrets import VALUE, traces

ALLOW = {"permission_policy": {"type": "always_allow"}}
TURN_SECONDS = 60


class Session:
    """A session whose agent has an MCP server."""

    def __init__(self, client, url="https://far.test/mcp", vaults=(), config=ALLOW, networking=None):
        self.client = client
        toolset = {"type": "mcp_toolset", "mcp_server_name": "far", "default_config": config}
        self.agent = client.beta.agents.create(
            name="a", model="scripted-model", mcp_servers=[{"type": "url", "name": "far", "url": url}], tools=[toolset])
        networking = networking or {"type": "unrestricted"}
        self.environment = client.beta.environments.create(name="e", config={"type": "cloud", "networking": networking})
        self.session = client.beta.sessions.create(agent=self.agent.id, environment_id=self.environment.id, vault_ids=list(vaults))
        self.seen = 0

    def say(self, text):
        """Says it, and waits until the turn is over or waits; what happened."""
        content = [{"type": "text", "text": text}]
        self.client.beta.sessions.events.send(self.session.id, events=[{"type": "user.message", "content": content}])
        return self.wait()

    def wait(self):
        found = []

        def is_over():
            found[:] = list(self.client.beta.sessions.events.list(self.session.id))[self.seen:]
            return any(event.type == "session.status_idle" for event in found)
        wait_until("the turn ends", is_over, TURN_SECONDS)
        self.seen += len(found)
        return found

    def call(self, tool, **arguments):
        """Has the model call a tool; the text of the result, and whether it failed."""
        events = self.say("TOOL mcp__far__%s %s\nSAY done" % (tool, json.dumps(arguments)))
        results = [event for event in events if event.type == "agent.mcp_tool_result"]
        assert len(results) == 1, [event.to_dict() for event in events]
        return "".join(block.text for block in results[0].content), results[0].is_error


def errors(events):
    return [event.error.to_dict() for event in events if event.type == "session.error"]


@pytest.fixture()
def bearer(client, vault):
    def put(token, url="https://far.test/mcp"):
        return client.beta.vaults.credentials.create(vault.id, auth={"type": "static_bearer", "mcp_server_url": url, "token": token})
    return put


def test_tools_of_a_server_are_called_and_answer(client, far):
    session = Session(client)
    events = session.say('TOOL mcp__far__add {"a": 20, "b": 22}\nSAY done')
    use, = [event for event in events if event.type == "agent.mcp_tool_use"]
    assert (use.mcp_server_name, use.name, use.input, use.evaluated_permission) == ("far", "add", {"a": 20, "b": 22}, "allow")
    result, = [event for event in events if event.type == "agent.mcp_tool_result"]
    assert result.mcp_tool_use_id == use.id and result.content[0].text == "42" and not result.is_error
    assert not errors(events) and "2026-07-28" in far.revisions
    text, failed = session.call("fail")
    assert failed and "fail" in text
    assert session.call("whoami") == ("you said None", False), "nobody has a credential"


def test_the_reference_server_of_npm_is_spoken_to_as_it_wants(client):
    session = Session(client, url="http://everything.test/mcp")
    assert session.call("echo", message="hello") == ("Echo: hello", False)
    text, failed = session.call("get-sum", a=2, b=3)
    assert not failed and "5" in text
    events = session.say("TOOL mcp__far__get-tiny-image {}\nSAY done")
    result, = [event for event in events if event.type == "agent.mcp_tool_result"]
    assert any(block.type == "image" for block in result.content)


def test_a_person_is_asked_unless_the_agent_says_otherwise(client, far):
    session = Session(client, config=None)
    events = session.say('TOOL mcp__far__add {"a": 1, "b": 2}\nSAY done')
    use, = [event for event in events if event.type == "agent.mcp_tool_use"]
    assert use.evaluated_permission == "ask" and events[-1].stop_reason.event_ids == [use.id] and not far.calls
    client.beta.sessions.events.send(session.session.id, events=[{"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"}])
    assert [event.type for event in session.wait() if event.type == "agent.mcp_tool_result"] and far.calls == ["add"]


def test_a_token_goes_to_its_server_and_nowhere_else(client, server, far, vault, bearer):
    far.tokens = {VALUE}
    events = Session(client).say("SAY without it")
    error, = errors(events)
    assert error["type"] == "mcp_authentication_failed_error" and error["mcp_server_name"] == "far" and "vault" in error["message"]
    assert error["retry_status"] == {"type": "retrying"} and [event for event in events if event.type == "agent.message"]
    bearer(VALUE)
    session = Session(client, vaults=[vault.id])
    text, failed = session.call("whoami")
    assert not failed and far.asked[-1] == "Bearer " + VALUE and VALUE not in text and "[redacted]" in text
    assert not traces(server, VALUE)
    # Another path of the same host is another server.
    far.tokens = None
    far.asked.clear()
    Session(client, url="https://far.test/elsewhere", vaults=[vault.id]).say("SAY hi")
    assert far.asked and set(far.asked) == {None}


def test_a_token_that_is_taken_away_is_gone_at_once(client, far, vault, bearer):
    far.tokens = {VALUE}
    credential = bearer(VALUE)
    session = Session(client, vaults=[vault.id])
    assert session.call("add", a=1, b=1) == ("2", False)
    client.beta.vaults.credentials.delete(credential.id, vault_id=vault.id)
    far.asked.clear()
    text, failed = session.call("add", a=1, b=1)
    assert failed and text.startswith("Not run") and set(far.asked) <= {None}


def test_what_must_not_be_reached_is_not(client, far, hosts):
    limited = {"type": "limited", "allowed_hosts": ["api.test"]}
    error, = errors(Session(client, networking=limited).say("SAY hi"))
    assert error["type"] == "mcp_connection_failed_error" and "allow_mcp_servers" in error["message"] and not far.asked
    events = Session(client, networking={**limited, "allow_mcp_servers": True}).say('TOOL mcp__far__add {"a": 1, "b": 1}\nSAY done')
    assert not errors(events) and far.calls == ["add"]
    for url in ("http://%s/mcp" % hosts["api.test"].address, "https://169.254.169.254/mcp", "http://[::1]/mcp", "https://nowhere.test/mcp"):
        error, = errors(Session(client, url=url).say("SAY hi"))
        assert error["type"] == "mcp_connection_failed_error", (url, error)


class Endpoint:
    """A token endpoint that rotates refresh tokens and takes each once."""

    def __init__(self, host, far):
        self.far, self.number, self.taken, self.lock, self.status = far, 0, [], threading.Lock(), 200
        self.valid = "refresh-0"
        host.answers["/token"] = self

    def __call__(self, handler):
        form = dict(urllib.parse.parse_qsl(handler.server.got[-1]["body"]))
        with self.lock:
            self.taken.append(form)
            if self.status != 200 or form.get("refresh_token") != self.valid:
                return handler.reply('{"error": "invalid_grant", "said": "%s"}' % form.get("refresh_token"), self.status if self.status != 200 else 400, content_type="application/json")
            self.number += 1
            self.valid = "refresh-%d" % self.number
            token = "access-%d-%s" % (self.number, VALUE)
            self.far.tokens = {token}
            answer = {"access_token": token, "refresh_token": self.valid, "expires_in": 3600, "token_type": "Bearer"}
        handler.reply(json.dumps(answer), content_type="application/json")


@pytest.fixture()
def grant(client, vault, far, hosts):
    """Puts an OAuth grant into the vault that ends in a moment."""
    far.tokens = set()
    endpoint = Endpoint(hosts["api.test"], far)

    def put(seconds=5):
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        refresh = {"client_id": "me", "refresh_token": "refresh-0", "token_endpoint": "https://api.test/token",
                   "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "client-" + VALUE}}
        auth = {"type": "mcp_oauth", "mcp_server_url": "https://far.test/mcp", "access_token": "first-" + VALUE,
                "expires_at": until.isoformat(), "refresh": refresh}
        endpoint.credential = client.beta.vaults.credentials.create(vault.id, auth=auth).id
        return endpoint
    return put


def test_a_token_that_ended_is_renewed_once_for_all_who_use_it(client, server, far, vault, grant):
    endpoint = grant()
    sessions = [Session(client, vaults=[vault.id]) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda session: session.call("add", a=3, b=4), sessions))
    assert results == [("7", False)] * 4
    assert [form["refresh_token"] for form in endpoint.taken] == ["refresh-0"], "each refresh token is taken once"
    assert endpoint.taken[0]["client_secret"] == "client-" + VALUE and endpoint.taken[0]["grant_type"] == "refresh_token"
    shown = client.beta.vaults.credentials.retrieve(endpoint.credential, vault_id=vault.id).to_dict()
    assert "access-1" not in str(shown) and shown["auth"]["expires_at"] > datetime.datetime.now(datetime.timezone.utc)
    # One that is refused before its time is renewed as well, with the token that the endpoint gave last.
    far.tokens = set()
    assert sessions[0].call("add", a=1, b=1) == ("2", False)
    assert [form["refresh_token"] for form in endpoint.taken] == ["refresh-0", "refresh-1"]
    for secret in ("first-" + VALUE, "access-1-" + VALUE, "access-2-" + VALUE, "client-" + VALUE):
        assert not traces(server, secret)


def test_a_grant_that_cannot_be_renewed_says_so(client, far, vault, grant):
    endpoint = grant()
    endpoint.status = 400
    error, = errors(Session(client, vaults=[vault.id]).say("SAY hi"))
    assert error["type"] == "mcp_authentication_failed_error" and "HTTP 400" in error["message"] and VALUE not in error["message"]


def test_a_credential_is_tried(client, far, vault, grant):
    validate = lambda: client.beta.vaults.credentials.mcp_oauth_validate(endpoint.credential, vault_id=vault.id).to_dict()
    endpoint = grant()
    endpoint.status = 500
    tried = validate()
    assert (tried["status"], tried["refresh"]["status"], tried["refresh"]["http_response"]["status_code"]) == ("unknown", "failed", 500)
    endpoint.status = 401
    tried = validate()
    assert (tried["status"], tried["refresh"]["status"]) == ("invalid", "failed") and tried["has_refresh_token"]
    assert "refresh-0" not in str(tried) and VALUE not in str(tried)
    endpoint.status = 200
    tried = validate()
    assert (tried["status"], tried["refresh"]["status"], tried["mcp_probe"]) == ("valid", "succeeded", None)
    assert (validate()["status"], validate()["refresh"]) == ("valid", None)
    far.tokens, endpoint.status = set(), 403
    tried = validate()
    assert tried["status"] == "invalid" and tried["refresh"]["status"] == "failed"
