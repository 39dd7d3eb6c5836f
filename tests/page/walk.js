// Walks a browser through the page on the demo's data: see drift, read the evidence, follow alert and run, read the registry.
// Every view has to be clean by axe, fit a phone, and ask no other machine for anything.
"use strict";

const { readFileSync, mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { chromium } = require("playwright-core");

const [base, flag, images] = process.argv.slice(2);
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const problems = [];

function expect(holds, text) {
  console.log(`${holds ? "ok  " : "FAIL"} ${text}`);
  if (!holds) problems.push(text);
}

async function inspect(page, name) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  expect(wide <= 0, `${name} fits ${page.viewportSize().width} px`);
  // Evaluated by the browser's own protocol, which the policy of the page does not concern.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => axe.run());
  const said = violations.map(({ id, nodes }) => `${id} at ${nodes[0].target}`).join("; ");
  expect(violations.length === 0, `${name} is clean by axe${said && `: ${said}`}`);
}

async function story(context) {
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  const open = async (path, name) => {
    const answer = await page.goto(base + path);
    expect(answer.status() === 200, `${name} answers 200`);
    await inspect(page, name);
  };

  await open("/", "the overview");
  await page.getByRole("link", { name: "elec2", exact: true }).click();
  await page.waitForURL(/\/models\/elec2$/);
  await inspect(page, "the model");
  expect((await page.locator("tr[data-name]").count()) >= 6, "the model lists its columns");

  // A window that drifted, and its evidence.
  const drifted = page.locator("table.windows tr", { hasText: "drift" }).filter({ hasText: "▲" }).first();
  expect((await drifted.count()) === 1, "a window that drifted is listed");
  await drifted.getByRole("link").first().click();
  await page.waitForURL(/window=/);
  await inspect(page, "a window that drifted");
  await page.locator("tr[data-name] .badge.bad").first().locator("xpath=ancestor::tr").getByRole("link").first().click();
  await page.waitForURL(/feature\?name=/);
  await inspect(page, "a column that drifted");
  expect(await page.locator("svg.dist, table.bars").first().isVisible(), "both distributions are drawn");
  const sum = await page.locator("tfoot b").innerText();
  const said = await page.locator("#explain").innerText();
  expect(said.includes(sum), `the explanation and the bins say the same PSI, ${sum}`);

  for (const [path, name] of [
    ["/models/elec2/segments", "segments"], ["/models/elec2/expectations", "expectations"],
    ["/models/elec2/traffic", "traffic"], ["/models/elec2/alerts?all=true", "alerts of the model"],
    ["/models/elec2/runs", "runs of the model"], ["/models/elec2/versions", "versions"],
    ["/models/elec2/baselines", "baselines"], ["/alerts?all=true", "alerts"], ["/runs", "runs"], ["/system", "the system"],
  ]) await open(path, name);

  // The alert's life, and the window it rests on.
  await page.goto(`${base}/alerts?all=true`);
  await page.locator("tbody th a").first().click();
  await page.waitForURL(/\/alerts\/[0-9a-f]+/);
  await inspect(page, "one alert");
  expect((await page.locator("ol.life li").count()) > 1, "an alert shows its life");

  // The run that the rule asked for.
  await page.goto(`${base}/runs`);
  await page.locator("tbody tr", { hasText: "rule" }).last().locator("th a").click();
  await page.waitForURL(/\/runs\/[0-9a-f-]{36}/);
  await inspect(page, "one run");
  expect(await page.getByRole("img", { name: /Loss over/ }).isVisible(), "a run shows its epochs");
  expect((await page.locator("pre.log").innerText()).includes("held-out"), "a run shows its log");

  await page.goto(`${base}/models/elec2/versions`);
  await page.locator("tbody th a").first().click();
  await page.waitForURL(/\/versions\/\d+/);
  await inspect(page, "one version");
  await page.goto(`${base}/models/elec2/baselines`);
  const compare = page.getByRole("link", { name: "with the active one" }).first();
  if (await compare.count()) {
    await compare.click();
    await inspect(page, "two baselines");
  }

  // The filter works as one types, and the address is the same without a script.
  await page.goto(`${base}/models/elec2`);
  await page.getByLabel("Find a column").fill("vic");
  expect((await page.locator("tr[data-name]:visible").count()) === 2, "a column is found as one types");
  await page.keyboard.press("Enter");
  await page.waitForURL(/find=vic/);
  expect((await page.locator("tr[data-name]").count()) === 2, "a column is found by the server");

  // By keyboard: the first stop leads to the content.
  await page.goto(base);
  await page.keyboard.press("Tab");
  expect((await page.evaluate(() => document.activeElement.className)) === "skip", "the first stop skips the navigation");
  expect(errors.length === 0, `nothing went wrong in the browser${errors.length ? `: ${errors.join("; ")}` : ""}`);
  await page.close();
}

// What people do: a run is asked for and watched, a version put back and forth, an alert silenced where one fires.
async function act(context) {
  const page = await context.newPage();
  const submit = async (title, reason) => {
    const form = page.locator("details.act", { hasText: title }).first();
    await form.locator("summary").click();
    await form.getByLabel("Why").fill(reason);
    if (await form.getByLabel("Your name").count()) await form.getByLabel("Your name").fill("Ada");
    await form.getByRole("button", { name: title }).click();
  };
  await page.goto(`${base}/models/elec2`);
  await submit("Retrain now", "a walk through the page");
  await page.waitForURL(/\/runs\/[0-9a-f-]{36}$/);
  await inspect(page, "a run that was asked for");
  // Nobody loads the page again: what changes comes by itself.
  const ended = page.locator(".title .badge", { hasText: /succeeded|rejected/ });
  await ended.waitFor({ timeout: 120_000 });
  expect(true, `the run was followed to its end: ${await ended.innerText()}`);

  await page.goto(`${base}/models/elec2/versions`);
  await submit("Roll back", "see whether the way back is open");
  await page.waitForURL(/\/versions\/\d+$/);
  expect((await page.locator(".title .badge").innerText()).includes("production"), "a version is rolled back to");
  const back = Number(page.url().split("/").pop());
  await page.goto(`${base}/models/elec2/versions`);
  await page.locator("tbody tr", { hasText: "archived" }).first().locator("th a").click();
  await page.waitForURL(/\/versions\/\d+$/);
  expect(Number(page.url().split("/").pop()) !== back, "another version is archived");
  await submit("Promote", "and the way forth");
  await page.locator(".title .badge", { hasText: "production" }).waitFor();
  expect(true, "a version is promoted");

  await page.goto(`${base}/alerts`);
  if (await page.locator("tbody th a").count()) {
    await page.locator("tbody th a").first().click();
    await submit("Silence", "known");
    await page.waitForURL(/\/alerts/);
    expect((await page.locator("#silences ~ div").innerText()).includes("known"), "an alert is silenced");
  }
  await page.goto(`${base}/system`);
  const done = await page.locator("main").innerText();
  expect(["retrain", "rollback", "promote"].every((word) => done.includes(word)), "it is written down who did what");
  await page.close();
}

async function pictures(browser) {
  for (const [scheme, device, width, height] of [
    ["light", "desktop", 1180, 820], ["dark", "desktop", 1180, 820], ["light", "phone", 390, 844], ["dark", "phone", 390, 844],
  ]) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height }, reducedMotion: "reduce" });
    const page = await context.newPage();
    await page.goto(`${base}/models/elec2`);
    const drifted = await page.locator("table.windows tr", { hasText: "▲" }).first().getByRole("link").first().getAttribute("href");
    const shots = [["model", drifted], ["column", `/models/elec2/feature?name=vicdemand&${drifted.split("?")[1]}`]];
    if (device === "desktop") {
      shots.push(["overview", "/"]);
      await page.goto(`${base}/runs`);
      shots.push(["run", await page.locator("tbody tr", { hasText: "rule" }).last().locator("th a").getAttribute("href")]);
    }
    for (const [name, path] of shots) {
      await page.goto(base + path);
      await page.screenshot({ path: join(images, `page-${name}-${device}-${scheme}.png`) });
    }
    await context.close();
  }
}

(async () => {
  const profile = mkdtempSync(join(tmpdir(), "driftline-page-"));
  const host = new URL(base).host;
  for (const [scheme, viewport, javaScriptEnabled] of [
    ["light", { width: 1280, height: 900 }, true], ["dark", { width: 390, height: 844 }, true],
  ]) {
    console.log(`\n${scheme}, ${viewport.width} px`);
    const context = await chromium.launchPersistentContext(join(profile, scheme), {
      executablePath: "/usr/bin/chromium", args: FLAGS, colorScheme: scheme, viewport, javaScriptEnabled,
    });
    const asked = new Set();
    context.on("request", (request) => asked.add(new URL(request.url()).host));
    await story(context);
    expect([...asked].every((other) => other === host), `every request went to ${host}: ${[...asked].join(", ")}`);
    await context.close();
  }
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  const without = await browser.newContext({ javaScriptEnabled: false });
  const page = await without.newPage();
  await page.goto(`${base}/models/elec2`);
  expect((await page.locator("tr[data-name]").count()) >= 6, "the page reads without a script");
  await without.close();
  if (flag === "--images") await pictures(browser);
  const acting = await browser.newContext();
  await act(acting);
  await acting.close();
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
  if (problems.length) {
    console.error(`\n${problems.length} of the page's promises do not hold`);
    process.exit(1);
  }
  console.log("\nthe page holds what it promises");
})().catch((error) => { console.error(error); process.exit(2); });
