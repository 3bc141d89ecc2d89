// How each deployment was over the last hour: a strip for each, and the same as a table.

import { arrange, make, makeSvg, setAttribute, setHidden, setText } from "./dom.js";
import { drawn, duration, minuteOf, percent, rank, stateWord, STATES, timeOf } from "./words.js";

const TICKS = [120, 300, 600, 900]; // seconds
const MANY = 12; // rows from which on those without trouble are folded away
const MOST_LISTED = 200;

// The parts of the time that is drawn, oldest first; what nobody saw is "unknown".
function spans(changes, { begin, at }) {
  const parts = [];
  let state = null;
  let since = begin;
  const end = (until) => {
    if (until > since) parts.push({ state: state ?? "unknown", from: since, until });
  };
  for (const [when, next] of changes) {
    const then = Math.min(Math.max(when, begin), at);
    end(then);
    if (then > since) since = then;
    state = next;
  }
  end(at);
  return parts;
}

const placeOf = (when, { begin, span }) => `${(((when - begin) / span) * 100).toFixed(3)}%`;

const lasting = (parts, wanted) =>
  parts.reduce((sum, { state, from, until }) => sum + (wanted(state) ? until - from : 0), 0);

// A calm line for health, a block for everything else.
const heightOf = (state) =>
  ["healthy", "unknown"].includes(state) ? { y: "36%", height: "28%" } : { y: "8%", height: "84%" };

class Strip {
  constructor(name) {
    this.name = name;
    this.drawing = makeSvg("svg", { class: "strip", role: "img" });
    this.share = make("span", { class: "strip-share" });
    this.node = make(
      "li",
      {},
      make("bdi", { class: "strip-name", text: name, title: name }),
      this.drawing,
      this.share,
    );
  }

  show(changes, time) {
    this.parts = spans(changes, time);
    const seen = lasting(this.parts, (state) => state !== "unknown");
    const healthy = lasting(this.parts, (state) => state === "healthy");
    this.quiet = this.parts.every(({ state }) => state === "healthy" || state === "unknown");
    const share = seen ? percent(healthy / seen) : "–";
    setText(this.share, share);
    const last = this.parts.at(-1);
    const now = last ? `; since ${minuteOf(last.from)} ${stateWord(last.state).toLowerCase()}` : "";
    setAttribute(this.drawing, "aria-label", `${this.name}: healthy ${share} of the time seen${now}`);
    this.#draw(time);
  }

  #draw(time) {
    // Trouble last and with an outline, so that a short one shows.
    const sorted = [...this.parts].sort((a, b) => rank(b.state) - rank(a.state));
    this.drawing.replaceChildren(
      ...sorted.map(({ state, from, until }) => {
        const kind = drawn(state);
        const pattern = ["cooling", "recovering", "disabled", "draining"].includes(kind)
          ? `url(#p-${kind})`
          : null;
        const words = `${stateWord(state)} ${timeOf(from)} to ${timeOf(until)} (${duration(until - from)})`;
        return makeSvg(
          "rect",
          {
            class: `span ${kind}`,
            x: placeOf(from, time),
            width: `${(((until - from) / time.span) * 100).toFixed(3)}%`,
            ...heightOf(kind),
            fill: pattern,
          },
          makeSvg("title", { text: words }),
        );
      }),
    );
  }
}

export class Timeline {
  constructor(id) {
    this.strips = new Map();
    this.title = make("h3", { id: `${id}-timeline` });
    this.list = make("ul", { class: "strips", "aria-labelledby": `${id}-timeline` });
    this.ticks = makeSvg("svg", { class: "strip-ticks" });
    this.axis = make("div", { class: "strip-axis", "aria-hidden": "true" }, this.ticks);
    this.key = make("ul", { class: "key", "aria-hidden": "true" });
    this.all = make("button", { type: "button", "aria-expanded": "false" });
    this.all.addEventListener("click", () => this.#unfold());
    this.log = make("tbody");
    this.table = make(
      "details",
      { class: "figures" },
      make("summary", { text: "Changes of state as a table" }),
      make(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Changes of state" },
        make(
          "table",
          {},
          make(
            "thead",
            {},
            make(
              "tr",
              {},
              ...["From", "Deployment", "State", "For"].map((text) => make("th", { scope: "col", text })),
            ),
          ),
          this.log,
        ),
      ),
    );
    this.table.addEventListener("toggle", () => this.#list());
    this.node = make(
      "div",
      { class: "figure" },
      this.title,
      this.key,
      this.list,
      this.axis,
      this.all,
      this.table,
    );
  }

  show(given, time) {
    setText(this.title, `Health over ${time.words}`);
    const changes = given.history.deployments;
    const names = given.deployments.map(({ name }) => name).filter((name) => Object.hasOwn(changes, name));
    for (const [name, strip] of this.strips) {
      if (!names.includes(name)) {
        strip.node.remove();
        this.strips.delete(name);
      }
    }
    for (const name of names) {
      if (!this.strips.has(name)) this.strips.set(name, new Strip(name));
      this.strips.get(name).show(changes[name].states, time);
    }
    arrange(
      this.list,
      names.map((name) => this.strips.get(name).node),
    );
    this.#showTicks(time);
    this.#showKey();
    this.#fold();
    this.#list();
  }

  #showTicks(time) {
    const { begin, at, span } = time;
    const step = TICKS.find((seconds) => span / seconds <= 5);
    const ticks = [makeSvg("text", { class: "last", x: "100%", y: "12", text: "now" })];
    for (let when = Math.ceil(begin / step) * step; when < at - step / 3; when += step) {
      if (when < begin + span / 60) continue; // it would stick out on the left
      ticks.push(makeSvg("text", { x: placeOf(when, time), y: "12", text: minuteOf(when) }));
    }
    this.ticks.replaceChildren(...ticks);
  }

  #showKey() {
    const seen = new Set(
      [...this.strips.values()].flatMap(({ parts }) => parts.map(({ state }) => drawn(state))),
    );
    const shown = [...Object.keys(STATES), "unknown"].filter((state) => seen.has(state));
    if (this.keyed === shown.join()) return;
    this.keyed = shown.join();
    this.key.replaceChildren(
      ...shown.map((state) => {
        const pattern = ["cooling", "recovering", "disabled", "draining"].includes(state)
          ? `url(#p-${state})`
          : null;
        const rect = makeSvg("rect", {
          class: `span ${state}`,
          width: "100%",
          ...heightOf(state),
          fill: pattern,
        });
        return make(
          "li",
          {},
          makeSvg("svg", { class: "swatch" }, rect),
          make("span", { text: state === "unknown" ? "Not seen" : stateWord(state) }),
        );
      }),
    );
  }

  #fold() {
    const quiet = [...this.strips.values()].filter((strip) => strip.quiet).length;
    const many = this.strips.size >= MANY && quiet > 0;
    setHidden(this.all, !many);
    const open = this.all.getAttribute("aria-expanded") === "true";
    setText(this.all, open ? `Hide the ${quiet} without trouble` : `Show the ${quiet} without trouble too`);
    for (const strip of this.strips.values()) setHidden(strip.node, many && !open && strip.quiet);
  }

  #unfold() {
    setAttribute(
      this.all,
      "aria-expanded",
      this.all.getAttribute("aria-expanded") === "true" ? "false" : "true",
    );
    this.#fold();
  }

  #list() {
    if (!this.table.open) return;
    const rows = [...this.strips.values()].flatMap(({ name, parts }) =>
      parts.map((part) => ({ name, ...part })),
    );
    rows.sort((a, b) => b.from - a.from);
    this.log.replaceChildren(
      ...rows
        .slice(0, MOST_LISTED)
        .map(({ name, state, from, until }) =>
          make(
            "tr",
            {},
            make("td", { text: timeOf(from) }),
            make("th", { scope: "row" }, make("bdi", { text: name })),
            make("td", { text: state === "unknown" ? "Not seen" : stateWord(state) }),
            make("td", { text: duration(until - from) }),
          ),
        ),
    );
  }
}
