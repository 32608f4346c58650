// What an operator does in a browser. Run by tests/browser: node page.mjs WHAT ADDRESS TOKEN
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.DAYPASS_TOOLS, "any.js"));
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const [what, address, token] = process.argv.slice(2);
const pictures = process.env.DAYPASS_PICTURES;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

// A page, and whatever it complains of.
async function open(options = {}) {
  const context = await browser.newContext({ baseURL: address, viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("requestfailed", (request) => {
    // Where a page that looks again is led to the login, it does not follow.
    if (request.url() !== `${address}/login`) complaints.push(`${request.url()} failed`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(address)) complaints.push(`asked for ${request.url()}`);
  });
  return { page, context, complaints };
}

async function logIn(page, path = "/") {
  await page.goto(path);
  await page.getByLabel("Admin token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { level: 1 }).waitFor();
}

// What axe-core finds: names, labels, landmarks, contrast and the rest of WCAG 2.2 A and AA.
async function mustBeAccessible(page, name) {
  const all = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  await page.evaluate(axe.source);
  // Only the colours are others in the dark.
  for (const [colorScheme, runOnly] of [["dark", ["color-contrast"]], ["light", all]]) {
    await page.emulateMedia({ colorScheme });
    const found = await page.evaluate((runOnly) => globalThis.axe.run(document, {
      preload: false,
      runOnly,
      resultTypes: ["violations"],
    }), runOnly);
    const told = found.violations.map((one) => `${one.id}: ${one.help}\n  ${one.nodes.map((node) => node.html).join("\n  ")}`);
    assert.deepEqual(told, [], `${name}, ${colorScheme}`);
  }
}

// Has a page look again now, and not within five seconds: as if it had just been turned to.
const turnTo = (page) => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));

const row = (page, text) => page.getByRole("row").filter({ hasText: text });

async function withScript() {
  const { page, context, complaints } = await open();

  // Logs in, the second time with the right token.
  await page.goto("/connections");
  assert.match(page.url(), /\/login\?next=/);
  await mustBeAccessible(page, "login");
  await page.getByLabel("Admin token").fill("wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("alert").filter({ hasText: "not the admin token" }).waitFor();
  assert.equal(complaints.length, 1, "a browser tells of the 403");
  complaints.length = 0;
  await page.getByLabel("Admin token").fill(token);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Connections" }).waitFor();
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.value.includes(token)], [true, "Strict", false]);
  assert.equal(await page.evaluate(() => document.cookie), "");

  // By keyboard alone: the first stop skips what every page begins with.
  await page.goto("/");
  await page.keyboard.press("Tab");
  const skip = page.getByRole("link", { name: "Skip to the content" });
  assert.ok(await skip.evaluate((link) => link === document.activeElement && link.getBoundingClientRect().top >= 0));
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await mustBeAccessible(page, "overview");

  // Finds what is broken, and makes a link for its user.
  await page.getByLabel("Connections", { exact: true }).getByRole("link", { name: "3" }).click();
  assert.match(page.url(), /status=needs_reauth/);
  assert.equal(await page.getByRole("row").count(), 4);
  await mustBeAccessible(page, "connections");
  await page.getByRole("link", { name: "carol" }).click();
  await page.getByText("Only its user can mend it: the provider refused the grant").waitFor();
  await row(page, "grant refused").waitFor();
  await mustBeAccessible(page, "a broken connection");
  await page.getByRole("button", { name: "Make a connect link" }).click();
  assert.match(await page.getByLabel("The link").inputValue(), /^http:\/\/127\.0\.0\.1:9\/connect\//);
  await mustBeAccessible(page, "a link");
  await page.getByRole("button", { name: "Copy" }).click();
  await page.getByRole("button", { name: "Copied" }).waitFor();

  // Renews a connection.
  await page.goto("/connections");
  await page.getByLabel("User begins with").fill("ali");
  await page.getByRole("button", { name: "Show" }).click();
  assert.equal(await page.getByRole("row").count(), 2);
  await page.getByRole("link", { name: "alice" }).click();
  const generation = page.locator("dt:has-text('Generation') + dd");
  assert.equal(await generation.textContent(), "1");
  await page.getByRole("button", { name: "Renew now" }).click();
  await page.getByRole("status").filter({ hasText: "Renewed" }).waitFor();
  assert.equal(await generation.textContent(), "2");
  await row(page, "renewed").waitFor();

  // Another page of the same operator changes something; this one hears of it.
  const other = await context.newPage();
  await other.goto(page.url());
  await other.getByRole("button", { name: "Renew now" }).click();
  await other.getByRole("status").filter({ hasText: "Renewed" }).waitFor();
  await page.bringToFront();
  await page.waitForFunction(() => document.querySelector(".facts").textContent.includes("Generation3"), null, { polling: 100 });

  // Replays a dead letter, and sees it arrive.
  await page.goto("/");
  await page.getByLabel("Deliveries to the app").getByRole("link", { name: "3" }).click();
  await page.getByLabel("Choose all of this page").check();
  assert.equal(await page.getByRole("checkbox", { checked: true }).count(), 4);
  await page.getByLabel("Choose all of this page").uncheck();
  const first = page.getByRole("checkbox", { name: /^Choose delivery/ }).first();
  const number = (await first.getAttribute("value"));
  await first.check();
  await turnTo(page);
  await page.waitForFunction(() => Number(document.documentElement.dataset.looked) > 0, null, { polling: 50 });
  assert.ok(await page.locator(`#choose-${number}`).isChecked(), "what was chosen stays so");
  await mustBeAccessible(page, "deliveries");
  await page.getByRole("button", { name: "Replay the chosen" }).click();
  await page.getByRole("status").filter({ hasText: "One delivery is on its way again" }).waitFor();
  const line = page.getByRole("row").filter({ has: page.locator(`#choose-${number}`) });
  await line.getByText("on its way", { exact: true }).or(line.getByText("delivered", { exact: true })).waitFor();
  await turnTo(page);
  await line.getByText("delivered", { exact: true }).waitFor();
  await page.getByRole("link", { name: number, exact: true }).click();
  await mustBeAccessible(page, "a delivery");
  await page.getByRole("link", { name: "Show the payload" }).click();
  assert.match(await page.locator("pre").textContent(), /"type": "connection\.connected"/);
  await mustBeAccessible(page, "a payload");

  await page.goto("/syncs");
  await page.getByRole("progressbar").first().waitFor();
  await mustBeAccessible(page, "syncs");
  await page.goto("/connection/disconnect?provider=calendly&user=lena");
  await mustBeAccessible(page, "disconnecting");
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("status").filter({ hasText: "Disconnected" }).waitFor();

  // On a small screen nothing is cut off but what scrolls.
  await page.setViewportSize({ width: 360, height: 700 });
  for (const path of ["/", "/connections", "/deliveries", "/connection?provider=calendly&user=alice"]) {
    await page.goto(path);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${path} is ${width} wide`);
  }

  // Pauses; logs out elsewhere, which this page notices and says.
  await page.goto("/");
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("Not kept up to date").waitFor();
  await page.getByRole("button", { name: "Go on" }).click();
  await other.getByRole("button", { name: "Log out" }).click();
  await other.getByLabel("Admin token").waitFor();
  await page.bringToFront();
  await turnTo(page);
  await page.getByText("Logged out: reload to log in").waitFor();
  assert.deepEqual(complaints, []);
}

async function withoutScript() {
  const { page, complaints } = await open({ javaScriptEnabled: false });
  await logIn(page);
  assert.equal(await page.getByRole("button", { name: "Pause" }).count(), 0);
  await page.getByLabel("Connections", { exact: true }).getByRole("link", { name: "3" }).click();
  await page.getByRole("link", { name: "karl" }).click();
  await page.getByText("Only its user can mend it").waitFor();
  await page.getByRole("button", { name: "Make a connect link" }).click();
  assert.match(await page.getByLabel("The link").inputValue(), /\/connect\//);
  assert.equal(await page.getByRole("button", { name: "Copy" }).count(), 0);
  await page.goto("/connection?provider=calcom&user=jana");
  await page.getByRole("button", { name: "Renew now" }).click();
  await page.getByRole("status").filter({ hasText: "Renewed" }).waitFor();
  await page.getByRole("button", { name: "Sync meetings" }).click();
  await page.getByRole("status").filter({ hasText: "All meetings will be read" }).waitFor();
  await page.getByRole("link", { name: "Disconnect…" }).click();
  await page.getByRole("link", { name: "Keep it" }).click();
  await page.goto("/deliveries");
  await page.getByLabel("Status").selectOption("Dead letter");
  await page.getByRole("button", { name: "Show" }).click();
  const boxes = page.getByRole("checkbox");
  assert.equal(await boxes.count(), 3);
  await boxes.nth(0).check();
  await boxes.nth(2).check();
  await page.getByRole("button", { name: "Replay the chosen" }).click();
  await page.getByRole("status").filter({ hasText: "2 deliveries are on their way again" }).waitFor();
  await page.goto("/deliveries?status=dead");
  await page.getByRole("link", { name: "Replay all dead letters…" }).click();
  await page.getByRole("button", { name: "Replay all" }).click();
  await page.getByRole("status").filter({ hasText: "One delivery is on its way again" }).waitFor();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("Admin token").waitFor();
  assert.deepEqual(complaints, []);
}

async function screenshots() {
  mkdirSync(pictures, { recursive: true });
  const { page } = await open({ viewport: { width: 1120, height: 860 } });
  await logIn(page);
  const take = async (path, name, options = {}) => {
    await page.goto(path);
    await page.screenshot({ path: join(pictures, name), animations: "disabled", ...options });
  };
  await take("/", "overview.png");
  await page.emulateMedia({ colorScheme: "dark" });
  await take("/", "overview-dark.png");
  await page.emulateMedia({ colorScheme: "light" });
  await take("/connection?provider=calendly&user=carol", "connection.png", { fullPage: true });
  await take("/deliveries", "deliveries.png");
  await page.setViewportSize({ width: 390, height: 800 });
  await take("/", "overview-small.png");
}

const all = { "with-script": withScript, "without-script": withoutScript, screenshots };
try {
  await all[what]();
} finally {
  await browser.close();
}
