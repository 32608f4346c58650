// An app whose users connect Calendly. It holds no OAuth code, no client secret and no token.
import express, { type Request } from "express";
import { Webhook } from "standardwebhooks";

const port = Number(process.env.PORT ?? 3000);
const appUrl = process.env.APP_URL ?? `http://127.0.0.1:${port}`;
const daypass = process.env.DAYPASS_URL ?? "http://127.0.0.1:7420";
const webhook = new Webhook(process.env.DAYPASS_SIGNING_SECRET ?? "");

const app = express();

// Stands for your own session. Daypass believes what you say here, so never let the browser choose.
function signedInUser(request: Request): string {
  const cookie = /(?:^|; )user=(\w+)/.exec(request.headers.cookie ?? "");
  return cookie?.[1] ?? "alice";
}

// A call for a user: where the provider's address was, there is Daypass, and X-User-Id says who.
function call(user: string, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("X-User-Id", user);
  return fetch(`${daypass}${path}`, { ...init, headers });
}

// --- connect ---

app.get("/", (request, response) => {
  // How the consent ended: connected, denied or failed.
  const { connection, reason } = request.query;
  const told = connection === "connected" ? "Calendly is connected." : connection ? `Not connected: ${reason}.` : "";
  const escaped = told.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  response.type("html").send(`<!doctype html><p>${escaped}</p>
    <form method="post" action="/connect"><button>Connect Calendly</button></form>`);
});

app.post("/connect", async (request, response) => {
  const answer = await call(signedInUser(request), "/-/calendly/connect-link", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ return_to: `${appUrl}/` }),
  });
  if (!answer.ok) throw new Error(`no link: ${answer.status} ${await answer.text()}`);
  const link = (await answer.json()) as { url: string };
  response.redirect(303, link.url);
});

// --- call ---

interface Meeting {
  name: string;
  start_time: string;
}

app.get("/meetings", async (request, response) => {
  const user = signedInUser(request);
  const me = await call(user, "/calendly/users/me");
  // 424: this user has not connected, or has to connect again.
  if (me.status === 424) {
    response.status(409).json({ error: "Connect Calendly first" });
    return;
  }
  if (!me.ok) throw new Error(`Calendly: ${me.status} ${await me.text()}`);
  const { resource } = (await me.json()) as { resource: { uri: string } };

  const events = await call(user, `/calendly/scheduled_events?user=${encodeURIComponent(resource.uri)}`);
  if (!events.ok) throw new Error(`Calendly: ${events.status} ${await events.text()}`);
  const { collection } = (await events.json()) as { collection: Meeting[] };
  response.json(collection.map(({ name, start_time }) => ({ name, start: start_time })));
});

// --- webhooks ---

// Stand for tables of your database, where the id is unique.
const seen = new Set<string>();
const news: { user: string; event: string; data: unknown }[] = [];

// The signature is over the raw bytes: no express.json() before this. Bookings stay far below 1 MiB.
app.post("/webhooks/daypass", express.raw({ type: () => true, limit: "1mb" }), (request, response) => {
  let data: unknown;
  try {
    data = webhook.verify(request.body, request.headers as Record<string, string>);
  } catch {
    response.status(401).json({ error: "not from Daypass" });
    return;
  }
  // The same id may come again, after a crash or a replay.
  const id = request.get("webhook-id") ?? "";
  if (!seen.has(id)) {
    seen.add(id);
    news.push({ user: request.get("x-user-id") ?? "", event: request.get("daypass-event") ?? "", data });
  }
  // 2xx once it is stored, and soon: work that takes long belongs into a queue.
  response.sendStatus(204);
});

app.get("/news", (request, response) => {
  const user = signedInUser(request);
  response.json(news.filter((one) => one.user === user));
});

app.listen(port, "127.0.0.1", () => console.log(`${appUrl}/`));
