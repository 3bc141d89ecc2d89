// The status page: asks for the feed, shows it in place, says aloud what changed.

import { make, setAttribute, setHidden, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { Badge, Pool } from "./pool.js";
import { apart, capital, duration, poolWords, stateWord, timeOf } from "./words.js";

const SAID_ONE_BY_ONE = 3; // changes at once; more are summed up
const PROCESS_SECONDS = 60; // for which a process that answered counts as one of those that serve
const MARKS = { good: "●", warn: "◐", bad: "▲" };
const ORDER = ["good", "warn", "bad"];

const byId = (id) => document.getElementById(id);
const pools = new Map();
const links = new Map();
const processes = new Map(); // pid -> when it answered last, and the states it told of
let latest = null; // the newest feed, and when it came
let retryAt = null; // while the server cannot be reached: when the next attempt is due
let failing = null; // while it cannot be reached: why

const feed = new Feed({ show, trouble });

function show(given) {
  latest = { at: given.at, came: performance.now() };
  const changes = changesIn(given);
  const back = failing !== null;
  failing = retryAt = null;
  if (document.activeElement === byId("retry")) byId("pools").focus({ preventScroll: true });
  setHidden(byId("trouble"), true);
  setAttribute(document.body, "data-stale", null);
  showPools(given);
  showOverall(given);
  showAbout(given);
  tick();
  const news = [...(back ? ["The server answers again."] : []), ...changes];
  if (news.length) say(news.join(" "));
  if (changes.length) feed.wantHistory();
}

function showPools(given) {
  const names = new Set(given.pools.map(({ name }) => name));
  for (const [name, pool] of pools) {
    if (!names.has(name)) {
      pool.close();
      links.get(name).node.remove();
      pools.delete(name);
      links.delete(name);
    }
  }
  for (const one of given.pools) {
    if (!pools.has(one.name)) add(one.name);
    const pool = pools.get(one.name);
    pool.show(one, given);
    links.get(one.name).badge.show(pool.words);
  }
  setHidden(byId("overview"), pools.size < 2);
}

function add(name) {
  const pool = new Pool(name, () => feed.soon());
  const badge = new Badge();
  const node = make("a", { href: `#${pool.id}` }, make("bdi", { text: name }), badge.node);
  pools.set(name, pool);
  links.set(name, { node, badge });
  byId("pools").append(pool.node);
  byId("overview").append(node);
}

function showOverall(given) {
  const words = [...pools.values()].map((pool) => pool.words);
  const worst = ORDER[Math.max(...words.map(({ mood }) => ORDER.indexOf(mood)), 0)];
  const ill = words.filter(({ mood }) => mood !== "good").length;
  const alone = given.pools.length === 1;
  let sentence = `${capital(given.problem ?? "there are no pools")}.`;
  if (alone) sentence = `${words[0].word}: ${words[0].sentence}`;
  else if (words.length)
    sentence = ill
      ? `${ill} of ${words.length} pools need attention.`
      : `All ${words.length} pools are healthy.`;
  setText(byId("overall"), sentence);
  setHidden(byId("overall"), alone);
  const name = alone ? given.pools[0].name : "llmpool";
  const title = `${words.length ? MARKS[worst] : ""} ${name}: ${sentence}`.trim();
  if (document.title !== title) document.title = title;
}

function showAbout(given) {
  const turns = `${processes.size} processes serve this page by turns, each with figures of its own. `;
  const source = `${processes.size > 1 ? turns : ""}Figures of process ${given.pid}.`;
  setText(byId("about"), `${source} llmpool ${given.version}. Times are this device’s.`);
}

// What changed since the process that answers now answered last: another one has states of its own.
function changesIn(given) {
  const now = performance.now() / 1000;
  const before = processes.get(given.pid)?.states;
  const states = new Map(
    given.pools.map((pool) => [pool.name, new Map(pool.deployments.map(({ name, state }) => [name, state]))]),
  );
  processes.set(given.pid, { at: now, states });
  for (const [pid, { at }] of processes) if (at < now - PROCESS_SECONDS) processes.delete(pid);
  if (!before) return [];
  return given.pools.flatMap((pool) => {
    const old = before.get(pool.name);
    const changed = pool.deployments.filter(({ name, state }) => old?.has(name) && old.get(name) !== state);
    if (changed.length > SAID_ONE_BY_ONE) {
      return [`${apart(pool.name)}: ${changed.length} deployments changed. ${poolWords(pool).sentence}`];
    }
    return changed.map(({ name, state, reason }) => {
      const why = reason ? `, ${reason}` : "";
      return `${apart(pool.name)}: ${apart(name)} is now ${stateWord(state).toLowerCase()}${why}.`;
    });
  });
}

function trouble(words, delay) {
  retryAt = performance.now() + delay * 1000;
  if (failing !== words) say(words);
  failing = words;
  setHidden(byId("trouble"), false);
  setAttribute(document.body, "data-stale", true);
  if (!document.title.startsWith("?")) document.title = `? ${document.title.replace(/^[●◐▲] /, "")}`;
  tick();
}

function say(words) {
  byId("announcer").replaceChildren(make("p", { text: words }));
}

// Ages and countdowns; none of them is announced.
function tick() {
  if (document.hidden) return;
  const now = performance.now();
  if (latest) {
    const shown = failing ? `Figures of ${timeOf(latest.at)}` : `Live · updated ${timeOf(latest.at)}`;
    setText(byId("connection"), shown);
  } else if (failing) setText(byId("connection"), "No figures yet");
  if (failing) {
    const old = latest ? ` What is shown is ${duration((now - latest.came) / 1000)} old.` : "";
    const wait = (retryAt - now) / 1000;
    setText(
      byId("trouble-words"),
      `${failing}${old} ${wait > 0 ? `Trying again in ${duration(wait)}.` : "Trying again…"}`,
    );
  }
  for (const pool of pools.values()) pool.tick();
}

byId("retry").addEventListener("click", () => feed.soon());
document.addEventListener("visibilitychange", tick);
setInterval(tick, 1000);
feed.soon();
