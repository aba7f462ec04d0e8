"""The official SDK against the built binary: a model server, a server for each dialect of models, a client."""
import anthropic
import pytest
from servers import ROOT, model_server, ostler_server

__all__ = ["KEY", "ROOT"]

KEY = "the-key-of-the-sdk-tests-0123456789abcdef"
PRICES = '[prices."priced-model"]\ninput = 1.0\noutput = 10.0\ncache_read = 0.1\n'


@pytest.fixture(scope="session")
def model():
    with model_server() as running:
        yield running


@pytest.fixture(scope="session", params=["anthropic", "openai"])
def server(request, model):
    """The URL of a running server."""
    provider = {"anthropic": {"ANTHROPIC_BASE_URL": model.url}, "openai": {"OPENAI_BASE_URL": model.url + "/v1"}}[request.param]
    with ostler_server(PRICES, OSTLER_BOOTSTRAP_API_KEY=KEY, **provider) as running:
        yield running.url


@pytest.fixture(scope="session")
def client(server):
    return anthropic.Anthropic(base_url=server, api_key=KEY, max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def violations(model):
    """What the model server found wrong with the requests that it got."""
    return model.violations


@pytest.fixture(scope="session")
def open_gate(model):
    return model.open_gate


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
