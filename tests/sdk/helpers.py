"""What the tests share: strict re-validation, scripted turns."""

TOOLSET = {"type": "agent_toolset_20260401"}


def strict(obj):
    """The SDK builds its objects without looking. Look: required fields, literals, unions."""
    type(obj).model_validate(obj.to_dict(mode="json", exclude_unset=True))
    return obj


def message(*lines):
    return {"type": "user.message", "content": [{"type": "text", "text": "\n".join(lines)}]}


def follow(stream):
    """The events of a stream up to the next time that the session is idle, each looked at."""
    events = []
    for event in stream:
        events.append(strict(event))
        if event.type == "session.status_idle":
            break
    return events


def turn(client, session, *events, **stream_arguments):
    """Sends events and returns those of the turn that follows."""
    with client.beta.sessions.events.stream(session.id, **stream_arguments) as stream:
        strict(client.beta.sessions.events.send(session.id, events=list(events)))
        return follow(stream)


def one(events, kind):
    found = [event for event in events if event.type == kind]
    assert len(found) == 1, "%d of %s among %s" % (len(found), kind, [event.type for event in events])
    return found[0]


def said(events):
    texts = [block.text for event in events if event.type == "agent.message" for block in event.content]
    return "\n".join(texts)
