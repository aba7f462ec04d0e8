#!/usr/bin/env bash
# A session with nothing but curl: agent, environment, session, a message, and the events until the agent rests.
# Usage: session.sh [PROMPT]. Reads OSTLER_URL, OSTLER_API_KEY and, if it is set, MODEL. JSON is read and written by python3.
set -euo pipefail

url=${OSTLER_URL:-http://127.0.0.1:8787}
: "${OSTLER_API_KEY:?set it to an API key of the server}"
prompt=${1:-"Look around in /workspace, write a short poem about what you find to poem.txt there, and show it to me."}

# METHOD PATH [ARGUMENTS OF CURL]. The key goes through a file descriptor, because everybody can read a program's arguments.
ostler() {
  curl --silent --show-error --fail-with-body --request "$1" "$url$2" \
    --config <(printf 'header = "x-api-key: %s"\n' "$OSTLER_API_KEY") --header "content-type: application/json" "${@:3}"
}

# json EXPRESSION: what is in the JSON document of standard input, which the expression calls d.
json() { python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# json_object KEY VALUE ...: an object of strings.
json_object() { python3 -c 'import json, sys; w = sys.argv[1:]; print(json.dumps(dict(zip(w[::2], w[1::2]))))' "$@"; }

# create PATH BODY: the id of what the server made.
create() {
  local answer
  answer=$(ostler POST "$1" --data "$2") || { echo "$answer" >&2; return 1; }
  json 'd["id"]' <<<"$answer"
}

agent="" environment="" session=""
clean_up() {
  if [[ -n $session ]]; then
    # A session that runs cannot be deleted, so one that we leave in the middle of a turn is interrupted first.
    while [[ $(ostler GET "/v1/sessions/$session" | json 'd["status"]') =~ ^(running|rescheduling)$ ]]; do
      ostler POST "/v1/sessions/$session/events" --data '{"events": [{"type": "user.interrupt"}]}' >/dev/null
      sleep 0.5
    done
    # This ends the stream, too, and with it the curl that reads it.
    ostler DELETE "/v1/sessions/$session" >/dev/null
  fi
  [[ -z $environment ]] || ostler DELETE "/v1/environments/$environment" >/dev/null
  [[ -z $agent ]] || ostler POST "/v1/agents/$agent/archive" >/dev/null
}
trap clean_up EXIT
trap 'exit 130' INT TERM

echo "server: $url"
agent=$(create /v1/agents '{
  "name": "curl",
  "model": "'"${MODEL:-claude-sonnet-5}"'",
  "tools": [{"type": "agent_toolset_20260401"}]
}')
environment=$(create /v1/environments '{"name": "curl", "config": {"type": "cloud"}}')
session=$(create /v1/sessions "$(json_object agent "$agent" environment_id "$environment")")
echo "session: $session"

message='{"events": [{"type": "user.message", "content": ['$(json_object type text text "$prompt")']}]}'
ostler POST "/v1/sessions/$session/events" --data "$message" >/dev/null

# From position 0 the stream shows everything, so that it does not matter that the message was first.
exec {stream}< <(ostler GET "/v1/sessions/$session/events/stream?after=0" --no-buffer)
reason=""
while [[ -z $reason ]] && IFS= read -r line <&"$stream"; do
  case $line in
    "event: "*) event=${line#event: } ;;
    "data: "*)
      data=${line#data: }
      case $event in
        agent.message) echo "agent: $(json '"".join(block.get("text", "") for block in d["content"])' <<<"$data")" ;;
        agent.tool_use) echo "tool: $(json 'd["name"] + " " + json.dumps(d["input"])' <<<"$data")" ;;
        session.error) echo "error: $(json 'd["error"]["message"]' <<<"$data")" >&2 ;;
        session.status_idle) reason=$(json 'd["stop_reason"]["type"]' <<<"$data") ;;
        ping) ;;
        *) echo "event: $event" ;;
      esac
      ;;
  esac
done
if [[ $reason != end_turn ]]; then
  echo "the turn did not end well: ${reason:-the stream broke}" >&2
  exit 1
fi
echo "done"
