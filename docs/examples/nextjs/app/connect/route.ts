import { call, signedInUser } from "../../lib/daypass";

export async function POST(request: Request): Promise<Response> {
  const appUrl = process.env.APP_URL ?? "http://127.0.0.1:3000";
  const answer = await call(signedInUser(request), "/-/calendly/connect-link", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ return_to: `${appUrl}/` }),
  });
  if (!answer.ok) throw new Error(`no link: ${answer.status} ${await answer.text()}`);
  const link = (await answer.json()) as { url: string };
  return Response.redirect(link.url, 303);
}
