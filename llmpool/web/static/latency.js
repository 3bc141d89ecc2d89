// Latency over the last hour: a chart of p50, one of p99, and the same figures as a table.

import { Chart, styleOf } from "./chart.js";
import { arrange, make, makeSvg, setAttribute, setHidden, setText } from "./dom.js";
import { milliseconds, timeOf } from "./words.js";

const DRAWN_FIRST = 6; // lines drawn until the reader chooses others
const KINDS = [
  { field: "p50_ms", title: "p50", words: "half of the calls took no longer" },
  { field: "p99_ms", title: "p99", words: "99 of 100 calls took no longer" },
];

class Choice {
  constructor(name, changed) {
    this.name = name;
    this.slot = null;
    this.box = make("input", { type: "checkbox" });
    this.line = makeSvg("line", { x1: "0", x2: "28", y1: "6", y2: "6" });
    this.value = make("span", { class: "reading" });
    this.node = make(
      "label",
      { class: "choice" },
      this.box,
      makeSvg("svg", { class: "sample", "aria-hidden": "true" }, this.line),
      make("bdi", { text: name }),
      this.value,
    );
    this.box.addEventListener("change", () => changed(this));
  }

  draw(slot) {
    this.slot = slot;
    this.box.checked = slot !== null;
    setAttribute(this.line, "class", slot === null ? "off" : styleOf(slot).name);
    setAttribute(this.line, "stroke-dasharray", slot === null ? null : styleOf(slot).dash.join(" ") || null);
  }
}

export class Latency {
  constructor(id) {
    this.id = id;
    this.time = null; // what is drawn
    this.index = null; // of what is under the cursor
    this.choices = new Map();
    this.chosenBy = "page"; // until the reader chooses
    this.charts = KINDS.map((kind) => new Chart(kind, this));
    this.nothing = make("p", { class: "nothing", text: "No calls in the last hour." });
    this.plots = make("div", { class: "charts" }, ...this.charts.map((chart) => chart.node));
    this.moment = make("span", { class: "moment" });
    this.lines = make(
      "fieldset",
      { class: "lines" },
      make("legend", { text: "Lines: p50 and p99, " }, this.moment),
    );
    this.list = make("div", { class: "choices" });
    this.lines.append(this.list);
    this.all = make("button", { type: "button", "aria-expanded": "false" });
    this.all.addEventListener("click", () => {
      setAttribute(
        this.all,
        "aria-expanded",
        this.all.getAttribute("aria-expanded") === "true" ? "false" : "true",
      );
      this.#fold();
    });
    this.head = make("thead");
    this.rows = make("tbody");
    this.table = make(
      "details",
      { class: "figures" },
      make("summary", { text: "Latency as a table" }),
      make(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Latency figures" },
        make("table", {}, this.head, this.rows),
      ),
    );
    this.table.addEventListener("toggle", () => this.#list());
    this.title = make("h3");
    this.drawing = make("div", {}, this.plots, this.lines, this.all, this.table);
    this.node = make("div", { class: "figure" }, this.title, this.nothing, this.drawing);
    this.scheme = window.matchMedia("(prefers-color-scheme: dark)");
    this.recolour = () => this.charts.forEach((chart) => chart.redraw());
    this.scheme.addEventListener("change", this.recolour);
  }

  show(given, time) {
    this.time = time;
    setText(this.title, `Latency over ${time.words}`);
    this.history = given.history;
    const names = given.deployments
      .map(({ name }) => name)
      .filter((name) => Object.hasOwn(this.history.deployments, name));
    const calls = new Map(
      names.map((name) => [name, this.history.deployments[name].calls.reduce((sum, one) => sum + one, 0)]),
    );
    const any = [...calls.values()].some((number) => number > 0);
    setHidden(this.nothing, any);
    setHidden(this.drawing, !any);
    if (!any) return;
    this.#choose(names, calls);
    this.#draw();
  }

  #choose(names, calls) {
    let news = false;
    for (const [name, choice] of this.choices) {
      if (!names.includes(name)) {
        choice.node.remove();
        this.choices.delete(name);
        news = true;
      }
    }
    for (const name of names) {
      if (!this.choices.has(name)) {
        this.choices.set(name, new Choice(name, (choice) => this.#toggle(choice)));
        news = true;
      }
    }
    arrange(
      this.list,
      names.map((name) => this.choices.get(name).node),
    );
    if (!news || this.chosenBy !== "page") return;
    const busiest = [...names].sort((a, b) => calls.get(b) - calls.get(a)).slice(0, DRAWN_FIRST);
    const drawn = names.filter((name) => busiest.includes(name));
    for (const [name, choice] of this.choices) choice.draw(drawn.includes(name) ? drawn.indexOf(name) : null);
  }

  #toggle(choice) {
    this.chosenBy = "reader";
    const taken = new Set([...this.choices.values()].filter((one) => one !== choice).map(({ slot }) => slot));
    let free = 0;
    while (taken.has(free)) free += 1;
    choice.draw(choice.box.checked ? free : null);
    this.#draw();
  }

  #draw() {
    const lines = [...this.choices.values()]
      .filter(({ slot }) => slot !== null)
      .map(({ name, slot }) => ({ name, slot }));
    const key = JSON.stringify(lines);
    const rebuild = key !== this.key;
    this.key = key;
    for (const chart of this.charts) chart.show(this.history, lines, rebuild);
    this.#fold();
    this.readAt(this.index);
    this.#list();
  }

  #fold() {
    const open = this.all.getAttribute("aria-expanded") === "true";
    const left = [...this.choices.values()].filter(({ slot }) => slot === null).length;
    const many = this.choices.size > DRAWN_FIRST;
    setHidden(this.all, !many);
    setText(this.all, open ? "Hide those not drawn" : `Choose others too (${left} not drawn)`);
    for (const choice of this.choices.values()) setHidden(choice.node, many && !open && choice.slot === null);
  }

  // Show the figures under the cursor, or else each line's latest.
  readAt(given) {
    const index = this.history.at[given] === undefined ? null : given;
    this.index = index;
    setText(this.moment, index === null ? "latest" : `at ${timeOf(this.history.at[index])}`);
    for (const { name, slot, value } of this.choices.values()) {
      const { p50_ms: p50, p99_ms: p99 } = this.history.deployments[name];
      const place = index ?? p50.findLastIndex((one) => one !== null);
      setText(
        value,
        slot === null || place < 0 ? "" : `${milliseconds(p50[place])} · ${milliseconds(p99[place])}`,
      );
    }
  }

  #list() {
    if (!this.table.open || !this.history) return;
    const drawn = [...this.choices.values()]
      .filter(({ slot }) => slot !== null)
      .map(({ name }) => [name, this.history.deployments[name]]);
    this.head.replaceChildren(
      make(
        "tr",
        {},
        make("th", { scope: "col", rowspan: "2", text: "From" }),
        ...drawn.map(([name]) =>
          make("th", { scope: "colgroup", colspan: "2" }, make("bdi", { text: name })),
        ),
      ),
      make(
        "tr",
        {},
        ...drawn.flatMap(() => KINDS.map(({ title }) => make("th", { scope: "col", text: title }))),
      ),
    );
    const rows = this.history.at.map((at, index) => ({ at, index })).reverse();
    this.rows.replaceChildren(
      ...rows
        .filter(({ index }) => drawn.some(([, own]) => own.p50_ms[index] !== null))
        .map(({ at, index }) =>
          make(
            "tr",
            {},
            make("th", { scope: "row", text: timeOf(at) }),
            ...drawn.flatMap(([, own]) =>
              KINDS.map(({ field }) => make("td", { text: milliseconds(own[field][index]) })),
            ),
          ),
        ),
    );
  }

  close() {
    this.scheme.removeEventListener("change", this.recolour);
    for (const chart of this.charts) chart.close();
  }
}
