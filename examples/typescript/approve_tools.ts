// Tools that wait for a person: the agent proposes each call, you allow or deny it, and only then it runs.
// A session waits as long as it takes, over restarts of this program and of the server.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import Anthropic from "@anthropic-ai/sdk";

const PROMPT = "Write a haiku about lighthouses to /workspace/haiku.txt with bash, then show me the file.";

type ToolUse = Anthropic.Beta.Sessions.BetaManagedAgentsAgentToolUseEvent;
type Confirmation = Anthropic.Beta.Sessions.BetaManagedAgentsUserToolConfirmationEventParams;
type Ask = (call: ToolUse) => Promise<boolean>;

// A session that runs cannot be deleted, so one that we leave in the middle of a turn is interrupted first.
async function deleteSession(client: Anthropic, id: string): Promise<void> {
  while (["running", "rescheduling"].includes((await client.beta.sessions.retrieve(id)).status)) {
    await client.beta.sessions.events.send(id, { events: [{ type: "user.interrupt" }] });
    await sleep(500);
  }
  await client.beta.sessions.delete(id);
}

// Asks on the terminal; silence and anything unclear is a no.
function askOnTerminal(signal: AbortSignal): Ask {
  const lines = createInterface({ input: process.stdin, terminal: false, signal })[Symbol.asyncIterator]();
  return async () => {
    process.stdout.write("allow it? [y/N] ");
    const line = await lines.next();
    return !line.done && ["y", "yes"].includes(line.value.trim().toLowerCase());
  };
}

async function confirmation(call: ToolUse, ask: Ask): Promise<Confirmation> {
  console.log("the agent wants to run:", call.name, JSON.stringify(call.input));
  const allowed = await ask(call);
  console.log("answer:", allowed ? "allow" : "deny");
  if (allowed) {
    return { type: "user.tool_confirmation", tool_use_id: call.id, result: "allow" };
  }
  return {
    type: "user.tool_confirmation",
    tool_use_id: call.id,
    result: "deny",
    deny_message: "The user does not want this. Do not try it another way; say what you would have done.",
  };
}

// Goes through one turn and returns why it ended.
async function turn(client: Anthropic, id: string, prompt: string, ask: Ask, signal: AbortSignal): Promise<string> {
  const calls = new Map<string, ToolUse>();
  const stream = await client.beta.sessions.events.stream(id, {}, { signal });
  await client.beta.sessions.events.send(id, {
    events: [{ type: "user.message", content: [{ type: "text", text: prompt }] }],
  });
  for await (const event of stream) {
    if (event.type === "agent.message") {
      console.log("agent:", event.content.map((block) => (block.type === "text" ? block.text : "")).join(""));
    } else if (event.type === "agent.tool_use") {
      calls.set(event.id, event);
    } else if (event.type === "session.error") {
      console.error("error:", event.error.message);
    } else if (event.type === "session.status_idle") {
      if (event.stop_reason.type !== "requires_action") {
        return event.stop_reason.type;
      }
      // The session rests until each of these calls has its answer; then the turn goes on.
      const events: Confirmation[] = [];
      for (const callId of event.stop_reason.event_ids) {
        const call = calls.get(callId);
        if (call) {
          events.push(await confirmation(call, ask));
        }
      }
      await client.beta.sessions.events.send(id, { events });
    }
  }
  throw new Error("the stream ended before the turn did");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { prompt: { type: "string" }, model: { type: "string" }, answer: { type: "string" } },
  });
  // --answer allow or --answer deny answers every call so, without asking.
  const { prompt = PROMPT, model = "claude-sonnet-5", answer = "ask" } = values;
  if (!["ask", "allow", "deny"].includes(answer)) {
    throw new Error("--answer must be ask, allow or deny");
  }
  // Ctrl-C ends the stream, and what was made is removed.
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  const ask: Ask = answer === "ask" ? askOnTerminal(interrupted.signal) : async () => answer === "allow";

  const url = process.env.OSTLER_URL || process.env.ANTHROPIC_BASE_URL || "http://127.0.0.1:8787";
  // Without OSTLER_API_KEY the SDK looks for ANTHROPIC_API_KEY.
  const client = new Anthropic({ baseURL: url, apiKey: process.env.OSTLER_API_KEY || undefined });
  console.log("server:", client.baseURL);
  const cleanup: (() => PromiseLike<unknown>)[] = [];
  try {
    const agent = await client.beta.agents.create({
      name: "asks first",
      model,
      tools: [
        {
          type: "agent_toolset_20260401",
          // For all tools of the set; "configs" can say it for one of them, and "always_allow" is the default.
          default_config: { permission_policy: { type: "always_ask" } },
        },
      ],
    });
    cleanup.unshift(() => client.beta.agents.archive(agent.id));
    const environment = await client.beta.environments.create({ name: "asks first", config: { type: "cloud" } });
    cleanup.unshift(() => client.beta.environments.delete(environment.id));
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    cleanup.unshift(() => deleteSession(client, session.id));
    console.log("session:", session.id);

    const reason = await turn(client, session.id, prompt, ask, interrupted.signal);
    if (reason !== "end_turn") {
      throw new Error("the turn ended with " + reason);
    }
    console.log("done");
  } finally {
    for (const remove of cleanup) {
      await remove();
    }
    // Else a terminal that could still be read keeps the program alive.
    process.stdin.destroy();
  }
}

main().catch((error: unknown) => {
  console.error("failed:", error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
