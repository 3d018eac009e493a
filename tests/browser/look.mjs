// Opens pages with the network cut off, uses them, and prints what is to be seen as JSON, one line for each.
// Usage: node look.mjs INSTALLED FOLDER NAME...
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [installed, folder, ...names] = process.argv.slice(2);
const require = createRequire(path.join(installed, "package.json"));
const bundle = require("@sparticuz/chromium");
// One process for everything, as the package has it, would end with the first window that is closed.
const bundled = bundle.default ?? bundle;
const { chromium } = require("playwright-core");

const browser = await chromium.launch({
  executablePath: process.env.CHROME || await bundled.executablePath(),
  // Nothing resolves and nothing is dialled, not even by the browser on its own account.
  args: [...bundled.args.filter((flag) => !flag.startsWith("--single-process")), "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-component-update"],
});

// Where everything is that the script moves. Runs in the page, on its document and on what was in the file.
const placed = (from) => {
  const attributes = ["transform", "y", "y1", "y2", "height"];
  const elements = from.querySelectorAll("#picture g.row, #picture [data-a], #picture g.pause, #picture g.violation");
  return [...elements].map((element) => [
    element.localName, element.getAttribute("class").replace(/ ?\b(bare|off)\b/g, ""), ...attributes.map((name) => Number.parseFloat(element.getAttribute(name)?.replace("translate(0,", "") ?? "NaN")),
    element.localName === "g" ? element.querySelector("text")?.textContent : "",
  ].join(" "));
};

async function open(context, name) {
  const page = await context.newPage();
  const seen = { errors: [], requests: [] };
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") seen.errors.push(message.text()); });
  const url = pathToFileURL(path.join(folder, `${name}.html`)).href;
  page.on("request", (request) => { if (request.url().split("#")[0] !== url) seen.requests.push(request.url()); });
  await page.goto(url);
  return { page, seen };
}

// What lies on something else, sticks out, or cannot be read.
const legible = () => {
  const shown = (element) => element.getClientRects().length > 0;
  const words = [...document.querySelectorAll("#picture .row .words")].filter(shown).map((text) => text.getBoundingClientRect());
  words.sort((one, other) => one.top - other.top);
  const picture = document.getElementById("picture").getBoundingClientRect();
  return {
    words: words.length,
    overlaps: words.filter((box, index) => index > 0 && box.top - words[index - 1].top < 10.5).length,
    outside: words.filter((box) => box.right > picture.right).length,
    smallest: Math.min(...[...document.querySelectorAll("svg text")].filter(shown).map((text) => Number.parseFloat(getComputedStyle(text).fontSize))),
    scrollsSideways: document.documentElement.scrollWidth > innerWidth,
  };
};

const visibleKinds = (page) => page.evaluate(() => {
  const count = {};
  for (const row of document.querySelectorAll("#picture g.row")) {
    if (row.getClientRects().length > 0) count[row.classList[1]] = (count[row.classList[1]] ?? 0) + 1;
  }
  const table = [...document.querySelectorAll("#records tr")].filter((row) => row.getClientRects().length > 0).length;
  return { count, table };
});

async function use(page, name) {
  const file = readFileSync(path.join(folder, `${name}.html`), "utf8");
  const said = {};
  said.rows = await page.locator("#picture g.row").count();
  const inFile = await page.evaluate(`(${placed})(new DOMParser().parseFromString(${JSON.stringify(file).replaceAll("<", "\\u003c")}, "text/html"))`);
  const inPage = await page.evaluate(`(${placed})(document)`);
  said.moved = inFile.filter((line, index) => line !== inPage[index]).slice(0, 3).concat(inFile.length === inPage.length ? [] : [`${inFile.length} and ${inPage.length} elements`]);
  said.legible = await page.evaluate(legible);
  said.obeyed = await page.evaluate(() => Boolean(window.obeyed) || document.images.length > 0);

  const violation = page.getByRole("link", { name: "show where" });
  if (await violation.count() > 0) {
    await violation.click();
    said.violation = await page.evaluate(() => {
      const box = document.querySelector("#violation text").getBoundingClientRect();
      const top = document.elementFromPoint(box.left + 5, box.top + box.height / 2);
      return box.top >= 0 && box.bottom <= innerHeight && top.closest("#violation") !== null;
    });
  }

  await page.locator("#scroller").focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  said.second = await page.locator("#detail").textContent();
  const mark = page.locator("#picture g.row").nth(2);
  await mark.locator("circle, path").first().hover({ force: true });
  said.hovered = await page.locator("#tip").textContent();

  said.everything = await visibleKinds(page);
  for (const box of await page.locator("input[name=kind]").all()) {
    if (await box.getAttribute("value") !== "events") await box.uncheck();
  }
  said.eventsOnly = await visibleKinds(page);
  for (const box of await page.locator("input[name=kind]").all()) await box.check();
  await page.locator("input[name=text]").fill("Subscription 1 gets");
  said.found = await visibleKinds(page);
  await page.locator("input[name=text]").fill("");

  await page.getByLabel("to scale").check();
  said.trueTime = await page.evaluate(() => {
    const at = [...document.querySelectorAll("#records tr")].map((row) => Number(row.dataset.us));
    const y = [...document.querySelectorAll("#picture g.row")].map((row) => Number(/,(.*)\)/.exec(row.getAttribute("transform"))[1]));
    const scale = (y.at(-1) - y[0]) / (at.at(-1) - at[0]);
    return Math.max(...at.map((time, index) => Math.abs(y[index] - y[0] - (time - at[0]) * scale)));
  });
  said.legibleInTrueTime = await page.evaluate(legible);
  await page.getByLabel("by record").check();
  while (await page.locator("#out").isEnabled()) await page.locator("#out").click();
  said.legibleFromAfar = await page.evaluate(legible);
  said.afar = await visibleKinds(page);
  return said;
}

for (const name of names) {
  const context = await browser.newContext({ offline: true, viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  const { page, seen } = await open(context, name);
  const shot = (kind) => path.join(folder, `${name}-${kind}`);
  await page.screenshot({ path: shot("light.png") });
  const hasPicture = await page.locator("#picture").count() > 0;
  const used = hasPicture ? await use(page, name) : { obeyed: await page.evaluate(() => document.scripts.length > 0) };
  await context.close();
  const small = await browser.newContext({ offline: true, viewport: { width: 390, height: 800 }, colorScheme: "dark" });
  const again = await open(small, name);
  await again.page.screenshot({ path: shot("narrow-dark.png") });
  used.narrowScrolls = await again.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  await again.page.pdf({ path: shot("print.pdf"), preferCSSPageSize: true });
  await small.close();
  console.log(JSON.stringify({ name, errors: [...seen.errors, ...again.seen.errors], requests: [...seen.requests, ...again.seen.requests], ...used }));
}
await browser.close();
