"""Budgets through the SDK. The model of these tests costs a dollar per million tokens of input and ten of output."""
import anthropic
import pytest
from helpers import TOOLSET, follow, message, one, said, strict, turn

MODEL = "priced-model"
CUSTOM = {"type": "custom", "name": "lookup", "description": "looks something up", "input_schema": {"type": "object"}}


def cents(amount):
    return {"type": "limit", "max_list_cost": {"amount": str(amount), "currency": "USD"}}


@pytest.fixture()
def session_of(client, environment):
    def make(budget=None, tools=(TOOLSET,), model=MODEL):
        agent = client.beta.agents.create(name="spender", model=model, tools=list(tools))
        more = {"budget": budget} if budget else {}
        return strict(client.beta.sessions.create(agent=agent.id, environment_id=environment.id, **more))
    return make


def refused(code, call, *args, **kwargs):
    with pytest.raises(anthropic.BadRequestError) as caught:
        call(*args, **kwargs)
    assert code in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("amount", ["25.00", "0", "-5", "007", "", "1e3", "ten"])
def test_amounts_are_positive_whole_cents(session_of, amount):
    refused("whole number of cents", session_of, {"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD"}})


def test_other_currencies_and_kinds_and_unpriced_models_are_refused(session_of):
    refused("EUR", session_of, {"type": "limit", "max_list_cost": {"amount": "5", "currency": "EUR"}})
    refused("wish", session_of, {"type": "wish", "max_list_cost": {"amount": "5", "currency": "USD"}})
    refused("model_not_budgetable", session_of, cents(5), model="scripted-model")


def test_a_turn_rests_at_the_cap_and_goes_on_by_itself(client, session_of):
    session = session_of(cents(2))
    assert session.budget.max_list_cost.amount == "2"
    assert session.usage.list_cost is None
    script = message("USAGE 0 3000", 'TOOL bash {"command": "echo hi"}', "STEP", "USAGE 0 100", "SAY got {{last_tool_result}}")
    events = turn(client, session, script)
    kinds = [event.type for event in events]
    assert kinds[-3:] == ["session.thread_status_idle", "session.usage", "session.status_idle"]
    assert kinds.count("span.model_request_start") == 1
    assert one(events, "session.thread_status_idle").stop_reason.type == "budget_reached"
    assert one(events, "session.status_idle").stop_reason.type == "budget_reached"
    usage = one(events, "session.usage")
    assert (usage.usage.list_cost.amount, usage.budget.max_list_cost.amount) == ("3", "2")

    why = refused("user.tool_confirmation", client.beta.sessions.events.send, session.id, events=[message("SAY more")])
    assert all(kind in why for kind in ("user.tool_result", "user.custom_tool_result", "user.interrupt"))
    before = len(client.beta.sessions.events.list(session.id).data)
    client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
    assert len(client.beta.sessions.events.list(session.id).data) == before

    refused("budget_not_raised", client.beta.sessions.update, session.id, budget=cents(3))
    with client.beta.sessions.events.stream(session.id) as stream:
        raised = strict(client.beta.sessions.update(session.id, budget=cents(50)))
        events = follow(stream)
    assert raised.budget.max_list_cost.amount == "50"
    assert [event.type for event in events][:2] == ["session.updated", "session.status_running"]
    assert said(events).strip() == "got hi"
    assert one(events, "session.status_idle").stop_reason.type == "end_turn"


def test_a_budget_can_be_lowered_and_removed_but_not_added(client, session_of):
    session = session_of(cents(500))
    turn(client, session, message("USAGE 0 2000", "SAY a"))
    assert client.beta.sessions.update(session.id, budget=cents(3)).budget.max_list_cost.amount == "3"
    assert client.beta.sessions.update(session.id, budget=None).budget is None
    refused("budget_create_only", client.beta.sessions.update, session.id, budget=cents(100))
    refused("budget_create_only", client.beta.sessions.update, session_of().id, budget=cents(100))


def test_a_pending_question_outranks_the_cap(client, session_of):
    session = session_of(cents(1), tools=[CUSTOM])
    events = turn(client, session, message("USAGE 0 5000", "TOOL lookup {}", "STEP", "SAY never"))
    assert one(events, "session.status_idle").stop_reason.type == "requires_action"
    use = one(events, "agent.custom_tool_use")
    events = turn(client, session, {"type": "user.custom_tool_result", "custom_tool_use_id": use.id, "content": [{"type": "text", "text": "x"}]})
    assert one(events, "session.status_idle").stop_reason.type == "budget_reached"
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.update(session.id, budget=None)
        assert said(follow(stream)) == "never"


def test_cached_tokens_cost_as_cached(client, session_of):
    session = session_of()
    turn(client, session, message("USAGE 0 0 1000000 0", "SAY read from the cache"))
    assert client.beta.sessions.retrieve(session.id).usage.list_cost.amount == "10"
