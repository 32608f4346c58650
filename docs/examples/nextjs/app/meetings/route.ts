import { call, signedInUser } from "../../lib/daypass";

interface Meeting {
  name: string;
  start_time: string;
}

export async function GET(request: Request): Promise<Response> {
  const user = signedInUser(request);
  const me = await call(user, "/calendly/users/me");
  // 424: this user has not connected, or has to connect again.
  if (me.status === 424) return Response.json({ error: "Connect Calendly first" }, { status: 409 });
  if (!me.ok) throw new Error(`Calendly: ${me.status} ${await me.text()}`);
  const { resource } = (await me.json()) as { resource: { uri: string } };

  const events = await call(user, `/calendly/scheduled_events?user=${encodeURIComponent(resource.uri)}`);
  if (!events.ok) throw new Error(`Calendly: ${events.status} ${await events.text()}`);
  const { collection } = (await events.json()) as { collection: Meeting[] };
  return Response.json(collection.map(({ name, start_time }) => ({ name, start: start_time })));
}
