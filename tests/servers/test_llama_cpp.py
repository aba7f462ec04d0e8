"""A real llama.cpp server with a model of random weights: what it says is noise, that it is said is not."""
import sys

import pytest
import tiny_model
from conftest import answers, free_port, ostler, running
from helpers import TOOLSET, message, one, said, turn

SETTINGS = "[model]\nmax_output_tokens = 24\n"


@pytest.fixture(scope="module")
def client(work):
    path, port = work / "tiny.gguf", free_port()
    tiny_model.make(str(path))
    url = "http://127.0.0.1:%d" % port
    command = [sys.executable, "-m", "llama_cpp.server", "--model", path, "--n_ctx", "32768", "--port", port]
    with running(command, work, lambda: answers(url + "/v1/models")):
        with ostler(SETTINGS, OPENAI_BASE_URL=url + "/v1") as client:
            yield client


def test_a_session_talks_to_it_for_several_turns(client, session_of):
    session = session_of(client, "tiny")
    for _ in range(3):
        events = turn(client, session, message("tell me something"))
        assert one(events, "session.status_idle").stop_reason.type == "end_turn"
        assert not [event for event in events if event.type == "session.error"]
        assert not one(events, "span.model_request_end").is_error
        assert said(events).strip()


def test_an_agent_with_tools_talks_to_it(client, session_of):
    events = turn(client, session_of(client, "tiny", [TOOLSET]), message("list the files"))
    assert one(events, "session.status_idle").stop_reason.type == "end_turn"
    assert not [event for event in events if event.type == "session.error"]


def test_previews_are_a_beginning_of_what_it_says(client, session_of):
    session = session_of(client, "tiny")
    events = turn(client, session, message("tell me something"), event_deltas=["agent.message"])
    deltas = [event.delta.content.text for event in events if event.type == "event_delta"]
    assert len(deltas) > 1 and "".join(deltas) == said(events)


def test_its_models_are_listed(client):
    assert [model.id.endswith("tiny.gguf") for model in client.models.list()] == [True]
