// Calls for a user. The app holds no OAuth code, no client secret and no token.

const daypass = process.env.DAYPASS_URL ?? "http://127.0.0.1:7420";

// Stands for your own session. Daypass believes what you say here, so never let the browser choose.
export function signedInUser(request: Request): string {
  const cookie = /(?:^|; )user=(\w+)/.exec(request.headers.get("cookie") ?? "");
  return cookie?.[1] ?? "alice";
}

// Where the provider's address was, there is Daypass, and X-User-Id says who. What one user is answered
// must never be kept for another: no cache.
export function call(user: string, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("X-User-Id", user);
  return fetch(`${daypass}${path}`, { ...init, headers, cache: "no-store" });
}
