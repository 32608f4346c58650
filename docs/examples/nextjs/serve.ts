// Stands for Next, so that the example runs, and is tested, without it: calls what is in `app/` as Next
// does. Your app does not need this file.
import { createServer } from "node:http";
import { renderToStaticMarkup } from "react-dom/server";
import * as connect from "./app/connect/route";
import * as meetings from "./app/meetings/route";
import * as news from "./app/news/route";
import Page from "./app/page";
import * as webhooks from "./app/webhooks/daypass/route";

type Handler = (request: Request) => Promise<Response>;

const port = Number(process.env.PORT ?? 3000);

async function page(request: Request): Promise<Response> {
  const searchParams = Promise.resolve(Object.fromEntries(new URL(request.url).searchParams));
  const html = renderToStaticMarkup(await Page({ searchParams }));
  return new Response(`<!doctype html>${html}`, { headers: { "Content-Type": "text/html; charset=utf-8" } });
}

const routes: Record<string, Handler> = {
  "GET /": page,
  "POST /connect": connect.POST,
  "GET /meetings": meetings.GET,
  "GET /news": news.GET,
  "POST /webhooks/daypass": webhooks.POST,
};

const server = createServer(async (incoming, outgoing) => {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const { method = "GET", url = "/" } = incoming;
  const headers = Object.entries(incoming.headers).map(([name, value]): [string, string] => [name, String(value)]);
  const body = method === "POST" ? Buffer.concat(chunks) : undefined;
  const request = new Request(new URL(url, `http://127.0.0.1:${port}`), { method, headers, body });
  const handler = routes[`${method} ${new URL(request.url).pathname}`];
  const response = handler
    ? await handler(request).catch((error: unknown) => new Response(String(error), { status: 500 }))
    : new Response(null, { status: 404 });
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(Buffer.from(await response.arrayBuffer()));
});

server.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/`));
