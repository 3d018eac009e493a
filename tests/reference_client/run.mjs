// Plays scenarios with the unmodified reference client and prints what it said: one JSON object a line.
//
//   node run.mjs <install directory> '{"<scenario>": {"url": "ws://…", "control": "http://…"}, …}'

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [directory, sites] = process.argv.slice(2);
const entry = join(directory, "node_modules/@openclaw/gateway-client/dist/index.mjs");
const { GatewayClient } = await import(pathToFileURL(entry).href);

const TOKEN = "test-token";
const DEADLINE_MS = 25_000;

/** One client and everything it said. */
class Session {
  constructor(site, options = {}) {
    this.site = site;
    this.hellos = [];
    this.events = [];
    this.closes = [];
    this.gaps = [];
    this.errors = [];
    this.pauses = [];
    this.waiting = [];
    const told = (list) => (item) => {
      list.push(item);
      for (const look of this.waiting) look();
    };
    this.client = new GatewayClient({
      url: site.url,
      token: TOKEN,
      deviceIdentity: null,
      onHelloOk: told(this.hellos),
      onEvent: told(this.events),
      onGap: told(this.gaps),
      onClose: (code, reason) => told(this.closes)([code, reason]),
      onConnectError: (error) => told(this.errors)(error.message),
      onReconnectPaused: told(this.pauses),
      ...options,
    });
    this.client.start();
  }

  /** Waits until `condition` holds, which only what the client says can change. */
  until(condition) {
    return new Promise((resolve) => {
      const look = () => {
        if (!condition(this)) return;
        this.waiting = this.waiting.filter((other) => other !== look);
        resolve();
      };
      this.waiting.push(look);
      look();
    });
  }

  async control(word, body = "") {
    const response = await fetch(`${this.site.control}${word}`, { method: "POST", body });
    if (!response.ok) throw new Error(`${word}: ${await response.text()}`);
    return (await response.text()).trim();
  }

  order(order) {
    return this.control("order", JSON.stringify(order));
  }

  stop() {
    return this.client.stopAndWait();
  }
}

/** Begins a session and waits for its first hello. */
async function ready(site, options) {
  const session = new Session(site, options);
  await session.until((s) => s.hellos.length === 1);
  return session;
}

function failure(error) {
  return { name: error.name, code: error.code, gatewayCode: error.gatewayCode, message: error.message };
}

/** A device identity, and a store for its tokens, in memory. */
function device() {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  const store = new Map();
  const key = ({ deviceId, role }) => `${deviceId}/${role}`;
  return {
    store,
    deviceIdentity: {
      deviceId: createHash("sha256").update(raw).digest("hex"),
      privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }),
      publicKeyPem: publicKey.export({ type: "spki", format: "pem" }),
    },
    hostDeps: {
      signDevicePayload: (pem, payload) =>
        sign(null, Buffer.from(payload, "utf8"), createPrivateKey(pem)).toString("base64url"),
      publicKeyRawBase64UrlFromPem: (pem) =>
        createPublicKey(pem).export({ type: "spki", format: "der" }).subarray(-32).toString("base64url"),
      loadDeviceAuthToken: (of) => store.get(key(of)) ?? null,
      storeDeviceAuthToken: (of) => store.set(key(of), { token: of.token, scopes: of.scopes }),
      clearDeviceAuthToken: (of) => store.delete(key(of)),
    },
  };
}

const scenarios = {
  async hello(site) {
    const session = await ready(site);
    const [hello] = session.hellos;
    await session.stop();
    return { hello, closes: session.closes, errors: session.errors };
  },

  async requests(site) {
    const session = await ready(site);
    const { client } = session;
    const echoes = await Promise.all(Array.from({ length: 50 }, (_, n) => client.request("test.echo", { n })));
    const health = await client.request("health");
    const unknown = await client.request("no.such.method").catch(failure);
    const invalid = await client.request("agent", {}).catch(failure);
    const late = await client.request("test.never", {}, { timeoutMs: 100 }).catch(failure);
    const aborter = new AbortController();
    const aborted = client.request("test.never", {}, { signal: aborter.signal }).catch(failure);
    aborter.abort();
    const outcome = { echoes, healthKeys: Object.keys(health), unknown, invalid, late, aborted: await aborted };
    const pending = client.request("test.never", {}, { timeoutMs: null }).catch(failure);
    await session.stop();
    return { ...outcome, pending: await pending, afterStop: await client.request("health").catch(failure) };
  },

  async "two-phase"(site) {
    const session = await ready(site);
    const accepted = [];
    const params = { message: "hello", idempotencyKey: "run-1" };
    const final = await session.client.request("agent", params, {
      expectFinal: true,
      onAccepted: (payload) => accepted.push(payload),
    });
    const again = await session.client.request("agent", params);
    const first = await session.client.request("agent", { ...params, idempotencyKey: "run-2" });
    const tasks = session.events.filter((event) => event.event === "task").map((event) => event.payload.task.status);
    await session.stop();
    return { accepted, final, again, first, tasks };
  },

  async device(site) {
    const { store, ...identity } = device();
    const options = { ...identity, clientName: "cli", mode: "cli", scopes: ["operator.read"] };
    const first = await ready(site, options);
    const issued = { ...[...store.values()][0] };
    await first.stop();
    const second = await ready(site, { ...options, token: undefined });
    const reused = second.hellos[0].auth;
    await second.stop();
    // A wrong shared token fails, and the client tries the stored device token once.
    const third = await ready(site, { ...options, token: "wrong" });
    await third.stop();
    return { first: first.hellos[0].auth, issued, reused, thirdErrors: third.errors, third: third.hellos[0].auth };
  },

  async "bad-token"(site) {
    const session = new Session(site, { token: "wrong" });
    await session.until((s) => s.pauses.length === 1);
    const { pauses, closes, errors, hellos } = session;
    await session.stop();
    return { pauses, closes, errors, hellos: hellos.length };
  },

  async gap(site) {
    const session = await ready(site);
    await session.control("emit", "update.available {\"n\":1}");
    await session.control("drop-next-event");
    await session.control("emit", "update.available {\"n\":2}");
    await session.control("emit", "update.available {\"n\":3}");
    await session.until((s) => s.events.some((event) => event.payload?.n === 3));
    await session.stop();
    const seen = session.events.filter((event) => event.event === "update.available");
    return { gaps: session.gaps, seen: seen.map((event) => [event.payload.n, event.seq]) };
  },

  async "tick-timeout"(site) {
    const session = await ready(site, { tickWatchMinIntervalMs: 50 });
    await session.until((s) => s.events.filter((event) => event.event === "tick").length === 3);
    await session.order({ misbehave: { starve_ticks: { lasting: 800 } } });
    await session.until((s) => s.hellos.length === 2);
    const before = session.events.length;
    await session.until((s) => s.events.slice(before).some((event) => event.event === "tick"));
    await session.stop();
    return { closes: session.closes };
  },

  async restart(site) {
    const session = await ready(site);
    const pending = session.client.request("test.never", {}, { timeoutMs: null }).catch(failure);
    await session.control("restart", "300");
    await session.until((s) => s.hellos.length === 2);
    const shutdown = session.events.find((event) => event.event === "shutdown");
    const echo = await session.client.request("test.echo", { again: true });
    await session.stop();
    const boots = session.hellos.map((hello) => hello.server.bootId);
    return { shutdown: shutdown.payload, closes: session.closes, boots, pending: await pending, echo };
  },

  async startup(site) {
    const session = new Session(site, { notifyOnStartupRetry: true });
    await session.until((s) => s.hellos.length === 1);
    await session.stop();
    return { closes: session.closes, errors: session.errors };
  },

  async "slow-challenge"(site) {
    const session = new Session(site, { connectChallengeTimeoutMs: 400 });
    await session.until((s) => s.hellos.length === 1);
    await session.stop();
    return { closes: session.closes, errors: session.errors };
  },

  async "new-token"(site) {
    const session = await ready(site);
    await session.control("token", "another");
    await session.until((s) => s.pauses.length === 1);
    await session.stop();
    return { closes: session.closes, pauses: session.pauses };
  },

  async refused(site) {
    const session = new Session(site);
    await session.until((s) => s.hellos.length === 1);
    await session.stop();
    return { errors: session.errors };
  },
};

async function play(name, site) {
  const began = Date.now();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("it takes too long")), DEADLINE_MS);
  });
  const outcome = await Promise.race([scenarios[name](site), late]).catch((error) => ({ failed: String(error?.stack ?? error) }));
  clearTimeout(timer);
  console.log(JSON.stringify({ scenario: name, ms: Date.now() - began, ...outcome }));
}

// Most of the time is waiting, so all of them wait at the same time.
await Promise.all(Object.entries(JSON.parse(sites)).map(([name, site]) => play(name, site)));
process.exit(0);
