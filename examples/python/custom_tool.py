"""A tool that runs here: the agent calls it, this program answers, and nothing of it is inside the sandbox.

So an agent reaches what only you can reach: your database, your other services, the person at the screen.
"""
import argparse
import contextlib
import json
import os
import sys
import time

import anthropic

PROMPT = "Where are my orders 1042 and 7? Answer in one sentence."

ORDERS = {"1042": {"item": "brass barometer", "status": "shipped", "arrives": "Friday"}}

LOOK_UP_ORDER = {
    "type": "custom",
    "name": "look_up_order",
    "description": "Looks up an order of the shop by its number: what it is, its status and when it arrives.",
    "input_schema": {
        "type": "object",
        "properties": {"number": {"type": "string", "description": "The number of the order."}},
        "required": ["number"],
    },
}


def delete(client, session_id):
    """A session that runs cannot be deleted, so one that we leave in the middle of a turn is interrupted first."""
    while client.beta.sessions.retrieve(session_id).status in ("running", "rescheduling"):
        client.beta.sessions.events.send(session_id, events=[{"type": "user.interrupt"}])
        time.sleep(0.5)
    client.beta.sessions.delete(session_id)


def result(call):
    """Runs a call. What goes wrong is told to the model, which can then correct itself or say so."""
    print("the agent calls:", call.name, json.dumps(call.input))
    number = call.input.get("number")
    if call.name != LOOK_UP_ORDER["name"] or not isinstance(number, str):
        text, is_error = "there is look_up_order, and it takes a number as a string", True
    elif number not in ORDERS:
        text, is_error = f"there is no order {number}", True
    else:
        text, is_error = json.dumps(ORDERS[number]), False
    print("result:", text)
    return {
        "type": "user.custom_tool_result",
        "custom_tool_use_id": call.id,
        "content": [{"type": "text", "text": text}],
        "is_error": is_error,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--model", default="claude-sonnet-5")
    args = parser.parse_args()

    url = os.environ.get("OSTLER_URL") or os.environ.get("ANTHROPIC_BASE_URL") or "http://127.0.0.1:8787"
    # Without OSTLER_API_KEY the SDK looks for ANTHROPIC_API_KEY.
    client = anthropic.Anthropic(base_url=url, api_key=os.environ.get("OSTLER_API_KEY") or None)
    print("server:", client.base_url)
    with contextlib.ExitStack() as cleanup:
        agent = client.beta.agents.create(name="shop", model=args.model, tools=[LOOK_UP_ORDER])
        cleanup.callback(client.beta.agents.archive, agent.id)
        environment = client.beta.environments.create(name="shop", config={"type": "cloud"})
        cleanup.callback(client.beta.environments.delete, environment.id)
        session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        cleanup.callback(delete, client, session.id)
        print("session:", session.id)

        calls = {}
        with client.beta.sessions.events.stream(session.id) as stream:
            message = {"type": "user.message", "content": [{"type": "text", "text": args.prompt}]}
            client.beta.sessions.events.send(session.id, events=[message])
            for event in stream:
                if event.type == "agent.message":
                    print("agent:", "".join(block.text for block in event.content if block.type == "text"))
                elif event.type == "agent.custom_tool_use":
                    calls[event.id] = event
                elif event.type == "session.error":
                    print("error:", event.error.message, file=sys.stderr)
                elif event.type == "session.status_idle":
                    if event.stop_reason.type != "requires_action":
                        break
                    # The session rests until each of these calls has its result; then the turn goes on.
                    results = [result(calls[call]) for call in event.stop_reason.event_ids]
                    client.beta.sessions.events.send(session.id, events=results)
            else:
                sys.exit("the stream ended before the turn did; resume.py shows how to read on")
        if event.stop_reason.type != "end_turn":
            sys.exit("the turn ended with " + event.stop_reason.type)
        print("done")


if __name__ == "__main__":
    try:
        main()
    except anthropic.AnthropicError as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
