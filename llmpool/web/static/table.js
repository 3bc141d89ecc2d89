// The table of a pool's deployments; on a narrow page each row is a card.

import { Control } from "./controls.js";
import { arrange, make, makeSvg, setAttribute, setHidden, setText, stateIcon } from "./dom.js";
import { compact, cost, count, drawn, duration, milliseconds, percent, rank, stateWord } from "./words.js";

const COLUMNS = [
  "Deployment",
  "State",
  "Share",
  "p50",
  "p99",
  "Errors",
  "In flight",
  "Tokens in",
  "Tokens out",
  "Cost",
  "Controls",
];
const TOOLS_FROM = 8; // deployments from which on there is something to search and to order

const byNumber = (number) => (a, b) => (number(b) ?? -1) - (number(a) ?? -1);
const ORDERS = {
  "As configured": null,
  "Worst state first": (a, b) => rank(a.state) - rank(b.state),
  Name: (a, b) => a.name.localeCompare(b.name),
  "Largest share first": byNumber((row) => row.share),
  "Slowest p99 first": byNumber((row) => row.latency_p99_ms),
  "Most errors first": byNumber((row) => row.error_rate),
};

class Row {
  constructor(pool, name, changed) {
    this.control = new Control(pool, name, changed);
    this.facts = make("span", { class: "under" });
    this.mark = stateIcon();
    this.word = make("span", { class: "word" });
    this.why = make("span", { class: "under why", dir: "auto" });
    this.wait = make("span", { class: "under wait" });
    this.bar = makeSvg("rect", { height: "100%", class: "bar-fill" });
    this.cells = {};
    const cell = (column, kind, ...children) => {
      this.cells[column] = make("td", { role: "cell", class: kind, "data-label": column }, ...children);
      return this.cells[column];
    };
    this.share = make("span");
    const numbers = (column) =>
      cell(column, "number", make("span", { class: "value" }), make("span", { class: "under" }));
    this.node = make(
      "tr",
      { role: "row" },
      make("th", { role: "rowheader", scope: "row", class: "name" }, make("bdi", { text: name }), this.facts),
      cell("State", "state", make("span", { class: "now" }, this.mark.icon, this.word), this.why, this.wait),
      cell("Share", "number", this.share, makeSvg("svg", { class: "bar", "aria-hidden": "true" }, this.bar)),
      ...["p50", "p99", "Errors", "In flight", "Tokens in", "Tokens out", "Cost"].map(numbers),
      cell("Controls", "control", this.control.button, this.control.error),
    );
  }

  show(given, { controls, others, facts }) {
    this.given = given;
    this.until = performance.now() + (given.cooldown_remaining || given.until || 0) * 1000;
    setAttribute(this.node, "data-state", drawn(given.state));
    this.mark.show(drawn(given.state));
    setText(this.facts, facts);
    setText(this.word, stateWord(given.state));
    setText(this.why, reason(given));
    setHidden(this.why, !this.why.textContent);
    setText(this.share, percent(given.share));
    setAttribute(this.bar, "width", `${Math.round((given.share ?? 0) * 100)}%`);
    this.#number("p50", milliseconds(given.latency_p50_ms));
    this.#number("p99", milliseconds(given.latency_p99_ms));
    const calls = `${compact(given.total_errors)} of ${compact(given.total_requests)}`;
    this.#number("Errors", given.total_requests ? percent(given.error_rate) : "–", calls);
    this.#number("In flight", count(given.requests_in_flight));
    this.#number("Tokens in", compact(given.input_tokens));
    this.#number("Tokens out", compact(given.output_tokens));
    this.#number("Cost", cost(given.cost));
    setHidden(this.cells.Controls, !controls);
    this.control.show(given, others);
    this.tick();
  }

  #number(column, value, under = "") {
    const [large, small] = this.cells[column].children;
    setText(large, value);
    setText(small, under);
  }

  // Count down what was left when the server told of it.
  tick() {
    const left = (this.until - performance.now()) / 1000;
    const waits = this.given.state !== "draining" && !this.given.eligible && left > 0;
    setText(this.wait, waits ? `takes calls again in ${duration(left)}` : "");
    setHidden(this.wait, !waits);
  }
}

// Why it is as it is; for a healthy one, why it takes no calls all the same.
function reason(given) {
  if (given.reason)
    return given.last_error && given.state !== "draining" && !given.reason.includes(given.last_error)
      ? `${given.reason} · ${given.last_error}`
      : given.reason;
  if (given.eligible || !given.why) return "";
  return given.why.startsWith(`${given.state}: `) ? given.why.slice(given.state.length + 2) : given.why;
}

export class Table {
  constructor(pool, titleId, changed) {
    this.pool = pool;
    this.changed = changed;
    this.rows = new Map();
    this.head = COLUMNS.map((column) =>
      make("th", {
        role: "columnheader",
        scope: "col",
        class: column === "Deployment" || column === "State" ? null : "number",
        text: column,
      }),
    );
    this.body = make("tbody", { role: "rowgroup" });
    this.table = make(
      "table",
      { role: "table", class: "deployments", "aria-labelledby": titleId },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...this.head)),
      this.body,
    );
    this.#makeTools();
    this.nothing = make("p", {
      class: "nothing",
      text: "No deployment's name, state or region holds these words.",
    });
    this.node = make("div", {}, this.tools, make("div", { class: "beside" }, this.table), this.nothing);
  }

  #makeTools() {
    this.search = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
    this.order = make("select", {}, ...Object.keys(ORDERS).map((words) => make("option", { text: words })));
    this.tools = make(
      "div",
      { class: "tools" },
      make("label", {}, make("span", { text: "Find" }), this.search),
      make("label", {}, make("span", { text: "Order" }), this.order),
    );
    this.search.addEventListener("input", () => this.#lay());
    this.order.addEventListener("change", () => this.#lay());
  }

  show(deployments, controls) {
    this.deployments = deployments;
    const names = new Set(deployments.map((given) => given.name));
    for (const [name, row] of this.rows) {
      if (!names.has(name)) {
        row.node.remove();
        this.rows.delete(name);
      }
    }
    setHidden(this.head.at(-1), !controls);
    setHidden(this.tools, deployments.length < TOOLS_FROM);
    setAttribute(this.table, "class", deployments.length < TOOLS_FROM ? "deployments" : "deployments many");
    const open = deployments.filter((given) => given.eligible).length;
    const facts = differences(deployments);
    for (const given of deployments) {
      if (!this.rows.has(given.name)) this.rows.set(given.name, new Row(this.pool, given.name, this.changed));
      const others = open - (given.eligible ? 1 : 0);
      this.rows.get(given.name).show(given, { controls, others, facts: facts(given) });
    }
    this.#lay();
  }

  #lay() {
    const compare = ORDERS[this.order.value];
    const shown = compare ? [...this.deployments].sort(compare) : this.deployments;
    arrange(
      this.body,
      shown.map((given) => this.rows.get(given.name).node),
    );
    const words = this.tools.hidden ? "" : this.search.value.trim().toLowerCase();
    let found = 0;
    for (const given of this.deployments) {
      const text = `${given.name} ${stateWord(given.state)} ${given.region ?? ""}`.toLowerCase();
      const fits = text.includes(words);
      found += fits;
      setHidden(this.rows.get(given.name).node, !fits);
    }
    setHidden(this.nothing, found > 0 || !words);
  }

  tick() {
    for (const row of this.rows.values()) row.tick();
  }
}

// What is told beneath the names: the region, and priority and weight where they are not all the same.
function differences(deployments) {
  const vary = (field) => new Set(deployments.map((given) => given[field])).size > 1;
  const fields = ["priority", "weight"].filter(vary);
  return (given) =>
    [given.region, ...fields.map((field) => `${field} ${given[field]}`)]
      .filter((word) => word !== null && word !== undefined && word !== "")
      .join(" · ");
}
