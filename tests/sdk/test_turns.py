"""Turns through the SDK: text, tools, questions, previews."""
import anthropic
import pytest
from anthropic.lib.sessions import accumulate_managed_agents_event
from helpers import TOOLSET, follow, message, one, said, strict, turn

ASKING = dict(TOOLSET, default_config={"permission_policy": {"type": "always_ask"}})
WEATHER = {
    "type": "custom",
    "name": "weather",
    "description": "the weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_a_turn_is_streamed_and_counted(client, session_with):
    session = session_with()
    events = turn(client, session, message("USAGE 11 3", "SAY hello"))
    assert said(events) == "hello"
    assert one(events, "session.status_idle").stop_reason.type == "end_turn"
    usage = strict(client.beta.sessions.retrieve(session.id)).usage
    assert (usage.input_tokens, usage.output_tokens) == (11, 3)


def test_a_tool_runs_in_the_sandbox(client, session_with):
    events = turn(client, session_with([TOOLSET]), message('TOOL bash {"command": "echo $((6 * 7))"}', "SAY {{last_tool_result}}"))
    use, result = one(events, "agent.tool_use"), one(events, "agent.tool_result")
    assert (use.name, use.evaluated_permission, result.tool_use_id) == ("bash", "allow", use.id)
    assert result.content[0].text.strip() == "42" == said(events).strip()


@pytest.mark.parametrize("answer, text", [("allow", "ran"), ("deny", "not today")])
def test_a_person_is_asked(client, session_with, answer, text):
    session = session_with([ASKING])
    events = turn(client, session, message('TOOL bash {"command": "echo ran"}', "SAY {{last_tool_result}}"))
    reason = one(events, "session.status_idle").stop_reason
    assert (reason.type, reason.event_ids) == ("requires_action", [one(events, "agent.tool_use").id])
    confirmation = {"type": "user.tool_confirmation", "tool_use_id": reason.event_ids[0], "result": answer}
    if answer == "deny":
        confirmation["deny_message"] = "not today"
    events = turn(client, session, confirmation)
    assert text in said(events)
    with pytest.raises(anthropic.BadRequestError):
        client.beta.sessions.events.send(session.id, events=[confirmation])


def test_a_client_runs_its_own_tool(client, session_with):
    session = session_with([WEATHER])
    events = turn(client, session, message('TOOL weather {"city": "Graz"}', "SAY it is {{last_tool_result}}"))
    use = one(events, "agent.custom_tool_use")
    assert (use.name, use.input) == ("weather", {"city": "Graz"})
    answer = {"type": "user.custom_tool_result", "custom_tool_use_id": use.id, "content": [{"type": "text", "text": "sunny"}]}
    assert said(turn(client, session, answer)) == "it is sunny"


def test_previews_add_up_to_the_beginning_of_the_message(client, session_with):
    session = session_with()
    with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message"]) as stream:
        client.beta.sessions.events.send(session.id, events=[message("CHUNK 4", "SAY a message in several pieces")])
        events = follow(stream)
    start, whole = one(events, "event_start"), one(events, "agent.message")
    assert (start.event.type, start.event.id) == ("agent.message", whole.id)
    previewed = "".join(event.delta.content.text for event in events if event.type == "event_delta" and event.event_id == whole.id)
    assert previewed and said(events).startswith(previewed)


def test_the_sdk_accumulates_previews(client, session_with):
    session = session_with()
    snapshot, grown = None, []
    with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message"]) as stream:
        client.beta.sessions.events.send(session.id, events=[message("CHUNK 4", "SAY a message in several pieces")])
        for event in follow(stream):
            snapshot = accumulate_managed_agents_event(snapshot, event)
            if snapshot is not None and snapshot.content:
                grown.append(snapshot.content[0].text)
    assert len(set(grown)) > 1 and all(grown[-1].startswith(text) for text in grown)
    assert strict(snapshot).content[0].text == "a message in several pieces"


def test_an_interrupt_ends_the_turn(client, session_with):
    session = session_with()
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message("GATE never", "SAY never")])
        for event in stream:
            if event.type == "span.model_request_start":
                break
        client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
        events = follow(stream)
    assert one(events, "session.status_idle").stop_reason.type == "end_turn"
    assert said(turn(client, session, message("SAY go on"))) == "go on"


def test_a_queued_message_is_told_when_it_is_processed(client, session_with, open_gate):
    session = session_with()
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message("GATE queue", "SAY first")])
        echo = client.beta.sessions.events.send(session.id, events=[message("SAY second")])
        assert echo.data[0].processed_at is None
        open_gate("queue")
        assert said(follow(stream)) == "first"
        second = follow(stream)
    told = one(second, "user.message")
    assert (told.id, told.processed_at is not None, said(second)) == (echo.data[0].id, True, "second")


def test_the_model_was_sent_nothing_wrong(client, session_with, violations):
    """Last in this file: it speaks of all requests before it."""
    turn(client, session_with([TOOLSET]), message('TOOL bash {"command": "true"}', "SAY fine"))
    assert violations() == []
