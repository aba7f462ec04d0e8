"""Agents, environments and sessions through the SDK: made, read, changed, listed, ended."""
import anthropic
import pytest
from helpers import TOOLSET, message, strict, turn


def test_an_agent_is_made_read_changed_and_archived(client):
    agent = strict(client.beta.agents.create(name="writer", model="scripted-model", system="be brief", tools=[TOOLSET], metadata={"team": "a"}))
    assert (agent.version, agent.model.id, agent.system) == (1, "scripted-model", "be brief")
    assert strict(client.beta.agents.retrieve(agent.id)) == agent
    changed = strict(client.beta.agents.update(agent.id, version=1, system="be long"))
    assert (changed.version, changed.system, changed.metadata) == (2, "be long", {"team": "a"})
    versions = [strict(version).version for version in client.beta.agents.versions.list(agent.id)]
    assert versions == [2, 1]
    assert strict(client.beta.agents.archive(agent.id)).archived_at is not None
    assert agent.id not in [other.id for other in client.beta.agents.list()]


def test_a_change_of_an_old_version_is_a_conflict(client):
    agent = client.beta.agents.create(name="contested", model="scripted-model")
    client.beta.agents.update(agent.id, version=1, name="first")
    with pytest.raises(anthropic.ConflictError):
        client.beta.agents.update(agent.id, version=1, name="second")


def test_an_environment_is_made_read_changed_and_deleted(client):
    environment = strict(client.beta.environments.create(name="lab", config={"type": "cloud"}))
    assert (environment.config.type, environment.config.networking.type) == ("cloud", "unrestricted")
    changed = strict(client.beta.environments.update(environment.id, description="quiet"))
    assert changed.description == "quiet"
    assert strict(client.beta.environments.retrieve(environment.id)) == changed
    strict(client.beta.environments.delete(environment.id))
    with pytest.raises(anthropic.NotFoundError):
        client.beta.environments.retrieve(environment.id)


def test_a_session_is_made_read_changed_archived_and_deleted(client, session_with):
    session = strict(session_with([TOOLSET]))
    assert (session.status, session.title) == ("idle", None)
    changed = strict(client.beta.sessions.update(session.id, title="a title", metadata={"k": "v"}))
    assert (changed.title, changed.metadata) == ("a title", {"k": "v"})
    assert strict(client.beta.sessions.retrieve(session.id)).title == "a title"
    archived = strict(client.beta.sessions.archive(session.id))
    assert (archived.status, archived.archived_at is not None) == ("terminated", True)
    strict(client.beta.sessions.delete(session.id))
    with pytest.raises(anthropic.NotFoundError):
        client.beta.sessions.retrieve(session.id)


def test_lists_come_in_pages_without_gap_or_duplicate(client, session_with):
    made = [session_with().id for _ in range(7)]
    listed = [strict(session).id for session in client.beta.sessions.list(limit=3)]
    assert listed[:7] == made[::-1]
    assert len(listed) == len(set(listed))
    first = client.beta.sessions.list(limit=3)
    assert first.has_next_page() and [session.id for session in first.get_next_page().data] == made[::-1][3:6]


def test_events_come_in_pages_in_their_order(client, session_with):
    session = session_with()
    streamed = turn(client, session, message("SAY one")) + turn(client, session, message("SAY two"))
    listed = [strict(event).id for event in client.beta.sessions.events.list(session.id, limit=4)]
    assert listed == [event.id for event in streamed]
    newest = client.beta.sessions.events.list(session.id, limit=4, order="desc")
    assert [event.id for event in newest.data] == listed[::-1][:4]


def test_errors_have_their_types(client, server):
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.beta.agents.retrieve("agent_01AAAAAAAAAAAAAAAAAAAAAA")
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as bad:
        client.beta.agents.create(name="", model="scripted-model")
    assert bad.value.body["error"]["type"] == "invalid_request_error"
    stranger = anthropic.Anthropic(base_url=server, api_key="not-a-key", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.beta.agents.list()
    assert missing.value.request_id
