// Node 18 or newer; no packages.
const daypass = "http://127.0.0.1:7420";

async function get(url, user) {
  const answer = await fetch(url, { headers: { "X-User-Id": user } });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status}: ${body.detail ?? body.message}`);
  return body;
}

const me = (await get(`${daypass}/calendly/users/me`, "alice")).resource;
console.log(`${me.name} is ${me.email}`);

// Links to the next page lead through Daypass, too.
const events = `${daypass}/calendly/scheduled_events`;
let page = `${events}?count=2&user=${encodeURIComponent(me.uri)}`;
while (page) {
  const { collection, pagination } = await get(page, "alice");
  for (const meeting of collection) console.log(`${meeting.name} at ${meeting.start_time}`);
  page = pagination.next_page;
}

// Nobody called carol is connected.
await get(`${daypass}/calendly/users/me`, "carol").catch((error) => console.log(error.message));
