"""Follows a session over broken connections and restarts of the server, without a gap and without an event twice.

Every stored event on a stream has a position, the `id:` of its frame. Who comes back names the last one that it has seen,
as the header `Last-Event-ID` or as `?after=POSITION`. This is an extension: the SDK passes the header on and shows the frames.
"""
import argparse
import contextlib
import os
import sys
import time

import anthropic
import httpx2

PROMPT = "Count the files below /usr/lib with bash, and tell me which directory has the most of them."

# The longest wait for a server that is away.
WAIT_SECONDS = 5


def delete(client, session_id):
    """A session that runs cannot be deleted, so one that we leave in the middle of a turn is interrupted first."""
    while client.beta.sessions.retrieve(session_id).status in ("running", "rescheduling"):
        client.beta.sessions.events.send(session_id, events=[{"type": "user.interrupt"}])
        time.sleep(0.5)
    client.beta.sessions.delete(session_id)


def frames(client, session_id, position):
    """What one connection brings from a position on; ends or fails when the connection does."""
    stream = client.beta.sessions.events.with_streaming_response.stream
    with stream(session_id, extra_headers={"Last-Event-ID": str(position)}) as response:
        yield from anthropic.Stream.raw_events(response.http_response)


def follow(client, session_id, break_after):
    """Position and event, for each event from the first one on, over as many connections as it takes."""
    position, wait = 0, 0.1
    while True:
        taken = 0
        try:
            for frame in frames(client, session_id, position):
                if frame.event == "ping":
                    continue
                position, wait, taken = int(frame.id or position), 0.1, taken + 1
                yield position, frame.json()
                if taken == break_after:
                    print("-- hanging up")
                    break
        except (anthropic.APIConnectionError, anthropic.InternalServerError, httpx2.TransportError) as error:
            print("-- broken:", type(error).__name__)
        # The wait grows until something comes again, so that a server that starts is not crowded.
        time.sleep(wait)
        wait = min(2 * wait, WAIT_SECONDS)
        print("-- going on after position", position)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--model", default="claude-sonnet-5")
    parser.add_argument("--break-after", type=int, default=0, metavar="N", help="hang up after every N events, to see it go on")
    args = parser.parse_args()

    url = os.environ.get("OSTLER_URL") or os.environ.get("ANTHROPIC_BASE_URL") or "http://127.0.0.1:8787"
    # Without OSTLER_API_KEY the SDK looks for ANTHROPIC_API_KEY.
    client = anthropic.Anthropic(base_url=url, api_key=os.environ.get("OSTLER_API_KEY") or None)
    print("server:", client.base_url)
    with contextlib.ExitStack() as cleanup:
        agent = client.beta.agents.create(name="resume", model=args.model, tools=[{"type": "agent_toolset_20260401"}])
        cleanup.callback(client.beta.agents.archive, agent.id)
        environment = client.beta.environments.create(name="resume", config={"type": "cloud"})
        cleanup.callback(client.beta.environments.delete, environment.id)
        session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        cleanup.callback(delete, client, session.id)
        print("session:", session.id)

        message = {"type": "user.message", "content": [{"type": "text", "text": args.prompt}]}
        client.beta.sessions.events.send(session.id, events=[message])
        # From position 0 everything is shown, so here it does not matter that the message was first.
        for position, event in follow(client, session.id, args.break_after):
            print(position, event["type"], flush=True)
            if event["type"] == "agent.message":
                print("agent:", "".join(block["text"] for block in event["content"] if block["type"] == "text"))
            elif event["type"] == "session.status_idle":
                reason = event["stop_reason"]["type"]
                break
            elif event["type"] == "session.deleted":
                sys.exit("the session was deleted")
        if reason != "end_turn":
            sys.exit("the turn ended with " + reason)
        print("done")


if __name__ == "__main__":
    try:
        main()
    except anthropic.AnthropicError as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
