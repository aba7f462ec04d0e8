"""LiteLLM's proxy in front of the scripted model server, with two deployments that it cools down after a 429."""
import pathlib
import sys

import pytest
from conftest import answers, free_port, ostler, running
from helpers import TOOLSET, message, one, said, turn
from servers import model_server

MASTER = "sk-litellm-master"
COOLDOWN_SECONDS = 2
CONFIG = """
model_list:
  - model_name: proxied
    litellm_params: {model: openai/first, api_base: "%(url)s/v1", api_key: none}
  - model_name: proxied
    litellm_params: {model: openai/second, api_base: "%(url)s/v1", api_key: none}
router_settings:
  num_retries: 0
  allowed_fails: 0
  cooldown_time: %(cooldown)d
general_settings:
  master_key: %(master)s
"""


@pytest.fixture(scope="module")
def client(work):
    config, port = work / "litellm.yaml", free_port()
    proxy = "http://127.0.0.1:%d" % port
    command = [pathlib.Path(sys.executable).parent / "litellm", "--config", config, "--host", "127.0.0.1", "--port", port]

    def ready():
        return answers(proxy + "/v1/models", {"authorization": "Bearer " + MASTER})
    with model_server() as model:
        config.write_text(CONFIG % {"url": model.url, "cooldown": COOLDOWN_SECONDS, "master": MASTER})
        with running(command, work, ready), ostler(OPENAI_BASE_URL=proxy + "/v1", OPENAI_API_KEY=MASTER) as client:
            yield client


def test_tools_run_through_the_proxy(client, session_of):
    script = message('TOOL bash {"command": "echo one"}', 'TOOL bash {"command": "echo two"}', "STEP", "USAGE 12 3", "SAY {{tool_results}}")
    events = turn(client, session_of(client, "proxied", [TOOLSET]), script)
    assert one(events, "session.status_idle").stop_reason.type == "end_turn"
    assert "one" in said(events) and "two" in said(events)
    ends = [event for event in events if event.type == "span.model_request_end"]
    assert ends[-1].model_usage.output_tokens > 0


def test_a_turn_outlives_the_cooldown_of_all_deployments(client, session_of):
    events = turn(client, session_of(client, "proxied"), message("FAIL 429 2", "SAY back again"))
    assert one(events, "session.status_idle").stop_reason.type == "end_turn"
    assert said(events) == "back again"
    refusals = [event.error.message for event in events if event.type == "session.error"]
    assert any("No deployments available" in refusal for refusal in refusals), refusals


def test_an_answer_that_breaks_off_is_asked_for_again(client, session_of):
    events = turn(client, session_of(client, "proxied"), message("FAIL 500 1", "SAY whole"))
    assert one(events, "session.status_idle").stop_reason.type == "end_turn"
    assert said(events) == "whole"


def test_its_models_are_listed(client):
    assert "proxied" in [model.id for model in client.models.list()]
