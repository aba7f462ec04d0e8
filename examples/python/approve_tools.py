"""Tools that wait for a person: the agent proposes each call, you allow or deny it, and only then it runs.

A session waits as long as it takes, over restarts of this program and of the server.
"""
import argparse
import contextlib
import json
import os
import sys
import time

import anthropic

PROMPT = "Write a haiku about lighthouses to /workspace/haiku.txt with bash, then show me the file."


def delete(client, session_id):
    """A session that runs cannot be deleted, so one that we leave in the middle of a turn is interrupted first."""
    while client.beta.sessions.retrieve(session_id).status in ("running", "rescheduling"):
        client.beta.sessions.events.send(session_id, events=[{"type": "user.interrupt"}])
        time.sleep(0.5)
    client.beta.sessions.delete(session_id)


def confirmation(call, answer):
    """Asks on the terminal, unless the answer is given; silence and anything unclear is a no."""
    print("the agent wants to run:", call.name, json.dumps(call.input))
    if answer == "ask":
        try:
            answer = "allow" if input("allow it? [y/N] ").strip().lower() in ("y", "yes") else "deny"
        except EOFError:
            answer = "deny"
    print("answer:", answer)
    event = {"type": "user.tool_confirmation", "tool_use_id": call.id, "result": answer}
    if answer == "deny":
        event["deny_message"] = "The user does not want this. Do not try it another way; say what you would have done."
    return event


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--model", default="claude-sonnet-5")
    parser.add_argument("--answer", choices=["ask", "allow", "deny"], default="ask", help="ask on the terminal, or answer every call so")
    args = parser.parse_args()

    url = os.environ.get("OSTLER_URL") or os.environ.get("ANTHROPIC_BASE_URL") or "http://127.0.0.1:8787"
    # Without OSTLER_API_KEY the SDK looks for ANTHROPIC_API_KEY.
    client = anthropic.Anthropic(base_url=url, api_key=os.environ.get("OSTLER_API_KEY") or None)
    print("server:", client.base_url)
    toolset = {
        "type": "agent_toolset_20260401",
        # For all tools of the set; "configs" can say it for one of them, and "always_allow" is the default.
        "default_config": {"permission_policy": {"type": "always_ask"}},
    }
    with contextlib.ExitStack() as cleanup:
        agent = client.beta.agents.create(name="asks first", model=args.model, tools=[toolset])
        cleanup.callback(client.beta.agents.archive, agent.id)
        environment = client.beta.environments.create(name="asks first", config={"type": "cloud"})
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
                elif event.type == "agent.tool_use":
                    calls[event.id] = event
                elif event.type == "session.error":
                    print("error:", event.error.message, file=sys.stderr)
                elif event.type == "session.status_idle":
                    if event.stop_reason.type != "requires_action":
                        break
                    # The session rests until each of these calls has its answer; then the turn goes on.
                    answers = [confirmation(calls[call], args.answer) for call in event.stop_reason.event_ids]
                    client.beta.sessions.events.send(session.id, events=answers)
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
