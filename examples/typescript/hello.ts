// An agent, an environment, a session, one message, and everything that happens until the agent rests.
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import Anthropic from "@anthropic-ai/sdk";

const PROMPT = "Look around in /workspace, write a short poem about what you find to poem.txt there, and show it to me.";

type Event = Anthropic.Beta.Sessions.BetaManagedAgentsStreamSessionEvents;

function show(event: Event): void {
  if (event.type === "agent.message") {
    console.log("agent:", event.content.map((block) => (block.type === "text" ? block.text : "")).join(""));
  } else if (event.type === "agent.tool_use") {
    console.log("tool:", event.name, JSON.stringify(event.input));
  } else if (event.type === "session.error") {
    console.error("error:", event.error.message);
  } else {
    console.log("event:", event.type);
  }
}

// A session that runs cannot be deleted, so one that we leave in the middle of a turn is interrupted first.
async function deleteSession(client: Anthropic, id: string): Promise<void> {
  while (["running", "rescheduling"].includes((await client.beta.sessions.retrieve(id)).status)) {
    await client.beta.sessions.events.send(id, { events: [{ type: "user.interrupt" }] });
    await sleep(500);
  }
  await client.beta.sessions.delete(id);
}

// Shows one turn and returns why it ended.
async function turn(client: Anthropic, id: string, prompt: string, signal: AbortSignal): Promise<string> {
  // The stream comes first: it shows what happens from when it is open.
  const stream = await client.beta.sessions.events.stream(id, {}, { signal });
  await client.beta.sessions.events.send(id, {
    events: [{ type: "user.message", content: [{ type: "text", text: prompt }] }],
  });
  for await (const event of stream) {
    show(event);
    if (event.type === "session.status_idle") {
      return event.stop_reason.type;
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
    const agent = await client.beta.agents.create({
      name: "hello",
      model,
      system: "You are brief.",
      tools: [{ type: "agent_toolset_20260401" }],
    });
    cleanup.unshift(() => client.beta.agents.archive(agent.id));
    const environment = await client.beta.environments.create({ name: "hello", config: { type: "cloud" } });
    cleanup.unshift(() => client.beta.environments.delete(environment.id));
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    cleanup.unshift(() => deleteSession(client, session.id));
    console.log("session:", session.id);

    const reason = await turn(client, session.id, prompt, interrupted.signal);
    if (reason !== "end_turn") {
      throw new Error("the turn ended with " + reason);
    }
    const { usage } = await client.beta.sessions.retrieve(session.id);
    console.log("done:", usage.input_tokens, "tokens in,", usage.output_tokens, "out");
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
