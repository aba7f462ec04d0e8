"""An agent, an environment, a session, one message, and everything that happens until the agent rests."""
import argparse
import contextlib
import os
import sys
import time

import anthropic

PROMPT = "Look around in /workspace, write a short poem about what you find to poem.txt there, and show it to me."


def show(event):
    if event.type == "agent.message":
        print("agent:", "".join(block.text for block in event.content if block.type == "text"))
    elif event.type == "agent.tool_use":
        print("tool:", event.name, event.input)
    elif event.type == "session.error":
        print("error:", event.error.message, file=sys.stderr)
    else:
        print("event:", event.type)


def delete(client, session_id):
    """A session that runs cannot be deleted, so one that we leave in the middle of a turn is interrupted first."""
    while client.beta.sessions.retrieve(session_id).status in ("running", "rescheduling"):
        client.beta.sessions.events.send(session_id, events=[{"type": "user.interrupt"}])
        time.sleep(0.5)
    client.beta.sessions.delete(session_id)


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
        agent = client.beta.agents.create(
            name="hello", model=args.model, system="You are brief.", tools=[{"type": "agent_toolset_20260401"}]
        )
        cleanup.callback(client.beta.agents.archive, agent.id)
        environment = client.beta.environments.create(name="hello", config={"type": "cloud"})
        cleanup.callback(client.beta.environments.delete, environment.id)
        session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        cleanup.callback(delete, client, session.id)
        print("session:", session.id)

        # The stream comes first: it shows what happens from when it is open.
        with client.beta.sessions.events.stream(session.id) as stream:
            message = {"type": "user.message", "content": [{"type": "text", "text": args.prompt}]}
            client.beta.sessions.events.send(session.id, events=[message])
            for event in stream:
                show(event)
                if event.type == "session.status_idle":
                    break
            else:
                sys.exit("the stream ended before the turn did; resume.py shows how to read on")
        if event.stop_reason.type != "end_turn":
            sys.exit("the turn ended with " + event.stop_reason.type)
        usage = client.beta.sessions.retrieve(session.id).usage
        print("done:", usage.input_tokens, "tokens in,", usage.output_tokens, "out")


if __name__ == "__main__":
    try:
        main()
    except anthropic.AnthropicError as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
