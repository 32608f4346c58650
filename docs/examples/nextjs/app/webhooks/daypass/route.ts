import { Webhook } from "standardwebhooks";
import { keep } from "../../../lib/news";

export async function POST(request: Request): Promise<Response> {
  const webhook = new Webhook(process.env.DAYPASS_SIGNING_SECRET ?? "");
  // The signature is over the raw bytes: text(), not json().
  const body = await request.text();
  let data: unknown;
  try {
    data = webhook.verify(body, Object.fromEntries(request.headers));
  } catch {
    return Response.json({ error: "not from Daypass" }, { status: 401 });
  }
  const header = (name: string) => request.headers.get(name) ?? "";
  keep({ id: header("webhook-id"), user: header("x-user-id"), event: header("daypass-event"), data });
  // 2xx once it is stored, and soon: work that takes long belongs into a queue.
  return new Response(null, { status: 204 });
}
