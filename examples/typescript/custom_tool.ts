// A tool that runs here: the agent calls it, this program answers, and nothing of it is inside the sandbox.
// So an agent reaches what only you can reach: your database, your other services, the person at the screen.
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import Anthropic from "@anthropic-ai/sdk";

const PROMPT = "Where are my orders 1042 and 7? Answer in one sentence.";

const ORDERS = new Map([["1042", { item: "brass barometer", status: "shipped", arrives: "Friday" }]]);

const LOOK_UP_ORDER: Anthropic.Beta.Agents.BetaManagedAgentsCustomToolParams = {
  type: "custom",
  name: "look_up_order",
  description: "Looks up an order of the shop by its number: what it is, its status and when it arrives.",
  input_schema: {
    type: "object",
    properties: { number: { type: "string", description: "The number of the order." } },
    required: ["number"],
  },
};

type CustomToolUse = Anthropic.Beta.Sessions.BetaManagedAgentsAgentCustomToolUseEvent;
type CustomToolResult = Anthropic.Beta.Sessions.BetaManagedAgentsUserCustomToolResultEventParams;

// A session that runs cannot be deleted, so one that we leave in the middle of a turn is interrupted first.
async function deleteSession(client: Anthropic, id: string): Promise<void> {
  while (["running", "rescheduling"].includes((await client.beta.sessions.retrieve(id)).status)) {
    await client.beta.sessions.events.send(id, { events: [{ type: "user.interrupt" }] });
    await sleep(500);
  }
  await client.beta.sessions.delete(id);
}

// What the tool says. What goes wrong is told to the model, which can then correct itself or say so.
function lookUp(call: CustomToolUse): { text: string; isError: boolean } {
  const { number } = call.input;
  if (call.name !== LOOK_UP_ORDER.name || typeof number !== "string") {
    return { text: "there is look_up_order, and it takes a number as a string", isError: true };
  }
  const order = ORDERS.get(number);
  return order ? { text: JSON.stringify(order), isError: false } : { text: `there is no order ${number}`, isError: true };
}

function result(call: CustomToolUse): CustomToolResult {
  console.log("the agent calls:", call.name, JSON.stringify(call.input));
  const { text, isError } = lookUp(call);
  console.log("result:", text);
  return {
    type: "user.custom_tool_result",
    custom_tool_use_id: call.id,
    content: [{ type: "text", text }],
    is_error: isError,
  };
}

// Goes through one turn and returns why it ended.
async function turn(client: Anthropic, id: string, prompt: string, signal: AbortSignal): Promise<string> {
  const calls = new Map<string, CustomToolUse>();
  const stream = await client.beta.sessions.events.stream(id, {}, { signal });
  await client.beta.sessions.events.send(id, {
    events: [{ type: "user.message", content: [{ type: "text", text: prompt }] }],
  });
  for await (const event of stream) {
    if (event.type === "agent.message") {
      console.log("agent:", event.content.map((block) => (block.type === "text" ? block.text : "")).join(""));
    } else if (event.type === "agent.custom_tool_use") {
      calls.set(event.id, event);
    } else if (event.type === "session.error") {
      console.error("error:", event.error.message);
    } else if (event.type === "session.status_idle") {
      if (event.stop_reason.type !== "requires_action") {
        return event.stop_reason.type;
      }
      // The session rests until each of these calls has its result; then the turn goes on.
      const waiting = event.stop_reason.event_ids.flatMap((callId) => calls.get(callId) ?? []);
      await client.beta.sessions.events.send(id, { events: waiting.map(result) });
    }
  }
  throw new Error("the stream ended before the turn did");
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { prompt: { type: "string" }, model: { type: "string" } } });
  const { prompt = PROMPT, model = "claude-sonnet-5" } = values;
  // Ctrl-C ends the stream, and what was made is removed.
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());

  const url = process.env.OSTLER_URL || process.env.ANTHROPIC_BASE_URL || "http://127.0.0.1:8787";
  // Without OSTLER_API_KEY the SDK looks for ANTHROPIC_API_KEY.
  const client = new Anthropic({ baseURL: url, apiKey: process.env.OSTLER_API_KEY || undefined });
  console.log("server:", client.baseURL);
  const cleanup: (() => PromiseLike<unknown>)[] = [];
  try {
    const agent = await client.beta.agents.create({ name: "shop", model, tools: [LOOK_UP_ORDER] });
    cleanup.unshift(() => client.beta.agents.archive(agent.id));
    const environment = await client.beta.environments.create({ name: "shop", config: { type: "cloud" } });
    cleanup.unshift(() => client.beta.environments.delete(environment.id));
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    cleanup.unshift(() => deleteSession(client, session.id));
    console.log("session:", session.id);

    const reason = await turn(client, session.id, prompt, interrupted.signal);
    if (reason !== "end_turn") {
      throw new Error("the turn ended with " + reason);
    }
    console.log("done");
  } finally {
    for (const remove of cleanup) {
      await remove();
    }
  }
}

main().catch((error: unknown) => {
  console.error("failed:", error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
