"""What schemathesis should know about the API beyond its description; loaded through SCHEMATHESIS_HOOKS.

Generated ids are answered with 404 and reach nothing. So every second valid case gets ids of things that exist, which
the runner made. What is chosen follows from the case alone, so that a failing case can be repeated.

Failures that are left out are written to OSTLER_OPENAPI_LEFT_OUT, a reason a line; the runner counts and prints them.
"""
import json
import os
import re
import urllib.parse
import zlib

import schemathesis

KEPT = json.loads(os.environ["OSTLER_OPENAPI_KEPT"])
SPARE = json.loads(os.environ["OSTLER_OPENAPI_SPARE"])
LEFT_OUT = os.environ["OSTLER_OPENAPI_LEFT_OUT"]

# A stream stays open by design, so that its answer never ends. Only its errors are generated; the runner reads the
# beginning of a real one.
STREAMS = {"stream_events", "stream_thread_events"}
# What an operation ends.
ENDS = {
    "archive_agent": "agent_id", "archive_environment": "environment_id", "archive_session": "session_id", "delete_environment": "environment_id",
    "delete_session": "session_id", "revoke_api_key": "api_key_id", "archive_vault": "vault_id", "delete_vault": "vault_id",
    "archive_credential": "credential_id", "delete_credential": "credential_id",
}

# Valid by the schema, refused all the same: it depends on what the server holds, or on several fields together, which
# schemas do not say. Every other refusal of a valid request is a failure.
STATE = [
    r"not a cursor of this list",
    r"the cursor belongs to the other order",
    r"is archived",
    r"waits for (a|an) (answer|result|confirmation)",
    r"was not set aside",
    r"this server allows \d+ at most",
    r"only credentials of the type mcp_oauth can be tried",
    r"the primary thread cannot be archived",
    r"the session is running",
    r"can only change while the session is idle",
    r"budget_(create_only|not_raised)",
    r"model_not_budgetable",
    r"must be in the future|is already in the vault|the vault holds",
]
TOGETHER = [
    r"after_id and before_id exclude each other",
    r"is used by no mcp_toolset|is none of the agent's mcp_servers|two servers are named|two mcp_toolset entries",
    r"two custom tools|is configured twice|stands there twice|is reserved|has no tool|has the type",
    r"must be a list|must have 1 to|entries must be strings|plain public host name|Only one of",
    r"is not a bare host name|need allow_package_managers|is not a package|cannot change; (create|archive)",
    r"deny_message: only goes with|system\.message: at most one|only text blocks are allowed|only user\.message is supported",
    r"search_result blocks belong|redacted blocks cannot|is not standard base64|url must start with|media_type must be|a text block is empty|a document is empty",
    r"agent_model_required|cannot be cleared|cannot be changed after creation",
    r"metadata: (a key is empty|key: at most|at most \d+ pairs)",
    r"must not contain \$ref|is nested too deeply",
    r"auth\.[a-z_.]+: must (be an address that starts with|not hold a user)",
    r"egress\.rules\[\d+\]\.(host|path|methods|ports)",
    r"auth\.refresh: the credential was made without|one of header and body must stay true|is a variable that programs take orders from",
]


def phase(case):
    return None if case.meta is None else case.meta.phase.name.value


def is_valid(case, place):
    if case.meta is None:
        return True
    part = {location.value: data for location, data in case.meta.components.items()}.get(place)
    return part is None or part.mode.value == "positive"


def every_second(case):
    return zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode()) % 2 == 0


def real(operation, name):
    """An id that exists; one of its own for what ends it."""
    spare = SPARE.get(name)
    if ENDS.get(operation) == name and spare:
        return spare.pop() if len(spare) > 1 else spare[0]
    return KEPT.get(name, spare and spare[0])


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw["operationId"]
    if operation in STREAMS:
        case.path_parameters["session_id"] = "sesn_unknown"
        return
    # The stateful phase has ids of its own and follows what becomes of them.
    if phase(case) == "stateful" or not every_second(case):
        return
    if case.path_parameters and is_valid(case, "path"):
        for name in case.path_parameters:
            case.path_parameters[name] = real(operation, name)
    if case.query and is_valid(case, "query"):
        for name in ("page", "after_id", "before_id"):
            case.query.pop(name, None)
    if operation == "create_session" and is_valid(case, "body") and isinstance(case.body, dict):
        agent = case.body.get("agent")
        if isinstance(agent, dict):
            agent["id"] = KEPT["agent_id"]
            agent.pop("version", None)
        else:
            case.body["agent"] = KEPT["agent_id"]
        case.body["environment_id"] = KEPT["environment_id"]


def holds(kind, value, path):
    """Whether such a value stands at the place that a message names, such as `config -> packages`."""
    if not path:
        return isinstance(value, kind)
    step, *rest = path
    if step == "Array with invalid items":
        return isinstance(value, list) and any(holds(kind, item, rest) for item in value)
    return isinstance(value, dict) and step in value and holds(kind, value[step], rest)


def is_loose(failure, case):
    """serde reads a list of the fields in order as an object, and the number of a variant as its name."""
    text = failure.message
    if "in body" in text and re.search(r"became array|/type \(was string, became (integer|number)\)", text):
        return True
    found = re.search(r"in body - (.*): Incorrect type", text)
    if found is None:
        return False
    path = re.split(r" -> |: ", found.group(1))
    return holds(list, case.body, path) or (path[-1] == "type" and holds(int, case.body, path))


def has_whole_float(value):
    if isinstance(value, dict):
        return any(map(has_whole_float, value.values()))
    if isinstance(value, list):
        return any(map(has_whole_float, value))
    return isinstance(value, float) and value.is_integer()


def has_empty_parameter(response):
    """In what was sent; of a parameter that is repeated the last counts."""
    query = urllib.parse.urlsplit(response.request.url).query
    return "" in dict(urllib.parse.parse_qsl(query, keep_blank_values=True)).values()


def reason(failure, case, response):
    kind = type(failure).__name__
    if kind == "RejectedPositiveData" and response.status_code == 400:
        message = response.json()["error"]["message"]
        if any(re.search(pattern, message) for pattern in STATE):
            return "valid, but refused with 400 in this state of the server"
        if any(re.search(pattern, message) for pattern in TOGETHER):
            return "valid field by field, but refused with 400 for what the fields say together or for contents beyond schemas"
        if has_whole_float(case.body) and re.search(r"floating point|an agent is its id, an object of type", message):
            return "1.0 is an integer to JSON Schema, and none to serde"
    if kind == "AcceptedNegativeData" and has_empty_parameter(response):
        return "an empty query parameter counts as left out"
    if kind == "AcceptedNegativeData" and is_loose(failure, case):
        return "inside a body a list of the fields in order is taken for an object, or a number for the name of a variant"
    return None


@schemathesis.hook
def filter_failure(context, failure, case, response):
    why = reason(failure, case, response)
    if why is None:
        return True
    with open(LEFT_OUT, "a") as out:
        out.write(why + "\n")
    return False
