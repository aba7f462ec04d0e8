"""A server whose sandboxes reach hosts of this machine, and sessions in them."""
import json
import pathlib

import anthropic
import mcp_servers
import pytest
import stream_hosts
import trustme
from hosts import Host
from servers import model_server, ostler_server, wait_until

KEY = "the-key-of-the-egress-tests-0123456789abcdef"
NAMES = ("api.test", "other.test", "git.test", "pypi.test", "npm.test", "crates.test", "evil.test")
TURN_SECONDS = 120


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def hosts(authority, tmp_path_factory):
    """Hosts by name; `plain.test` has no TLS, nor has `search.test`, which is also the server's search engine."""
    made = {name: Host(authority, name, tmp_path_factory.mktemp(name)) for name in NAMES}
    for name in ("plain.test", "search.test"):
        made[name] = Host(authority, name, tmp_path_factory.mktemp(name), tls=False)
    yield made
    for host in made.values():
        host.shutdown()


@pytest.fixture(scope="session")
def mcp_server(authority, tmp_path_factory):
    """The MCP server `far.test`, and the one of npm as `everything.test` at `address`."""
    far = mcp_servers.Far(authority, tmp_path_factory.mktemp("far"))
    with mcp_servers.everything() as far.everything:
        yield far
    far.stop()


@pytest.fixture()
def far(mcp_server):
    mcp_server.tokens = None
    mcp_server.asked.clear()
    mcp_server.calls.clear()
    mcp_server.revisions.clear()
    return mcp_server


@pytest.fixture(scope="session")
def streams(authority, tmp_path_factory):
    """The addresses of hosts that talk while they listen, by name."""
    place = tmp_path_factory.mktemp("streams")
    with stream_hosts.http2(authority, "streams.test", place) as http2, stream_hosts.websocket(authority, "socket.test") as websocket:
        yield {"streams.test": http2, "socket.test": websocket}


@pytest.fixture(scope="session")
def settings(authority, hosts, streams, mcp_server, tmp_path_factory):
    """Of servers that find these hosts. The section of the search engine is the last one."""
    bundle = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    text = "[egress]\nextra_ca = [%s]\n[egress.resolve]\n" % json.dumps(str(bundle))
    text += "".join('"%s" = "%s"\n' % (name, host.address) for name, host in hosts.items())
    text += "".join('"%s" = "%s"\n' % pair for pair in streams.items())
    text += '"far.test" = "%s"\n"everything.test" = "%s"\n' % (mcp_server.address, mcp_server.everything)
    return text + "[search]\nprovider = \"searxng\"\nbase_url = \"http://%s\"\n" % hosts["search.test"].address


@pytest.fixture(scope="session")
def server(settings):
    with model_server() as model, ostler_server(settings, OSTLER_BOOTSTRAP_API_KEY=KEY, ANTHROPIC_BASE_URL=model.url) as running:
        yield running
        left = [pid for role in ("keeper", "worker") for pid in processes(role) if descends(pid, running.process.pid)]
        assert len(left) == 2, left
    wait_until("egress ends with its server", lambda: not any(pathlib.Path("/proc/%d" % pid).exists() for pid in left))


@pytest.fixture(scope="session")
def client(server):
    return anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0)


class Session:
    """A session that runs commands."""

    def __init__(self, client, hosts, vaults=(), configs=()):
        self.client = client
        tools = [{"type": "agent_toolset_20260401", "configs": list(configs)}]
        self.agent = client.beta.agents.create(name="a", model="scripted-model", tools=tools)
        networking = {"type": "limited", "allowed_hosts": list(hosts)}
        self.environment = client.beta.environments.create(name="e", config={"type": "cloud", "networking": networking})
        self.session = client.beta.sessions.create(agent=self.agent.id, environment_id=self.environment.id, vault_ids=list(vaults))

    @property
    def id(self):
        return self.session.id

    def start(self, command):
        """Starts a command; the number of events before it."""
        return self.call("bash", command=command)

    def call(self, tool, says="", **arguments):
        """Has a tool called; the number of events before it."""
        before = len(list(self.client.beta.sessions.events.list(self.id)))
        text = "%sTOOL %s %s\nSAY done" % (says and "NONCE %s\n" % says, tool, json.dumps(arguments))
        self.client.beta.sessions.events.send(self.id, events=[{"type": "user.message", "content": [{"type": "text", "text": text}]}])
        return before

    def result(self, before):
        """What the command printed."""
        found = []

        def is_over():
            found[:] = list(self.client.beta.sessions.events.list(self.id))[before:]
            return any(event.type in ("session.status_idle", "session.status_terminated") for event in found)
        wait_until("the turn ends", is_over, TURN_SECONDS)
        results = [event for event in found if event.type == "agent.tool_result"]
        return "".join(block.text for event in results for block in event.content)

    def run(self, command):
        return self.result(self.start(command))

    def allow(self, *hosts):
        networking = {"type": "limited", "allowed_hosts": list(hosts)}
        self.client.beta.environments.update(self.environment.id, config={"type": "cloud", "networking": networking})

    def delete(self):
        self.client.beta.sessions.delete(self.id)


@pytest.fixture()
def vault(client):
    made = client.beta.vaults.create(display_name="v")
    yield made
    client.beta.vaults.delete(made.id)


@pytest.fixture()
def secret(client, vault):
    """Puts a secret into the vault, for hosts."""
    def put(name, value, *hosts, **more):
        auth = {"type": "environment_variable", "secret_name": name, "secret_value": value, **more,
                "networking": {"type": "limited", "allowed_hosts": list(hosts)}}
        return client.beta.vaults.credentials.create(vault.id, auth=auth)
    return put


@pytest.fixture()
def session(client, vault, hosts):
    """Makes sessions that may reach hosts."""
    made = []

    def make(*allowed, configs=()):
        made.append(Session(client, allowed, [vault.id], configs))
        return made[-1]
    yield make
    for one in made:
        one.delete()


def processes(role):
    """The pids of egress processes whose parent's parent is ours: those of the server under test."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if line[1:3] == [b"egress", role.encode()]:
                found.append(int(entry.name))
    return found


def descends(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


@pytest.fixture()
def egress(server):
    """The pid of the server's egress; asked again, that of the one that took its place."""
    def find():
        found = [pid for pid in processes("worker") if descends(pid, server.process.pid)]
        return found[0] if found else None
    return find
