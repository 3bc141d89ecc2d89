// One pool: how it is in words, its deployments, its last hour.

import { make, setAttribute, setHidden, setText, stateIcon } from "./dom.js";
import { Latency } from "./latency.js";
import { Table } from "./table.js";
import { Timeline } from "./timeline.js";
import { compact, cost, count, milliseconds, poolWords } from "./words.js";

const HOUR = 3600;
const STEP = 600; // in which the window of a pool that was first looked at within the hour grows
const DRAWN_AS = { good: "healthy", warn: "cooling", bad: "unhealthy" };
let made = 0;

// A badge: a drawing, and the word for it.
export class Badge {
  constructor() {
    this.mark = stateIcon();
    this.word = make("span");
    this.node = make("span", { class: "badge" }, this.mark.icon, this.word);
  }

  show({ word, mood }) {
    setAttribute(this.node, "data-mood", mood);
    this.mark.show(DRAWN_AS[mood]);
    setText(this.word, word);
  }
}

// What is drawn of the last hour: all of it, or what there is, so that the first minutes can be read.
function windowOf(history, at) {
  const own = Object.values(history.deployments);
  const called = history.at.find((_, index) => own.some(({ calls }) => calls[index] > 0)) ?? at;
  const first = Math.min(called, ...own.map(({ states }) => states[0]?.[0] ?? at));
  const span = Math.min(HOUR, STEP * Math.max(1, Math.ceil((at - first) / STEP)));
  return {
    at,
    begin: at - span,
    span,
    words: span === HOUR ? "the last hour" : `the last ${span / 60} minutes`,
  };
}

export class Pool {
  constructor(name, changed) {
    this.id = `pool-${(made += 1)}`;
    const titleId = `${this.id}-title`;
    this.badge = new Badge();
    this.sentence = make("p", { class: "sentence" });
    this.facts = make("dl", { class: "facts" });
    this.values = new Map();
    this.table = new Table(name, titleId, changed);
    this.latency = new Latency(this.id);
    this.timeline = new Timeline(this.id);
    this.hour = make("div", { class: "hour", hidden: true }, this.latency.node, this.timeline.node);
    this.node = make(
      "section",
      { class: "pool", id: this.id, "aria-labelledby": titleId, tabindex: "-1" },
      make(
        "div",
        { class: "pool-head" },
        make("h2", { id: titleId }, make("bdi", { text: name })),
        this.badge.node,
        this.sentence,
      ),
      this.facts,
      this.table.node,
      this.hour,
    );
  }

  show(given, feed) {
    this.words = poolWords(given);
    this.badge.show(this.words);
    setText(this.sentence, this.words.sentence);
    this.#showFacts(given);
    this.table.show(given.deployments, feed.controls === true);
    if (!given.history) return;
    setHidden(this.hour, false);
    const time = windowOf(given.history, feed.at);
    this.latency.show(given, time);
    this.timeline.show(given, time);
  }

  #showFacts(given) {
    const sum = (field) => given.deployments.reduce((total, deployment) => total + deployment[field], 0);
    const facts = {
      "Mean p50": milliseconds(given.avg_latency_ms),
      "In flight": count(sum("requests_in_flight")),
      Attempts: compact(sum("total_requests")),
      "Tokens in": compact(given.input_tokens),
      "Tokens out": compact(given.output_tokens),
      Cost: given.cost === null || given.cost === undefined ? null : cost(given.cost),
      "Health checks": given.checker_alive ? "running" : "not running here",
    };
    for (const [name, value] of Object.entries(facts)) {
      if (!this.values.has(name)) {
        const text = make("dd");
        const fact = make("div", {}, make("dt", { text: name }), text);
        this.values.set(name, { text, fact });
        this.facts.append(fact);
      }
      const { text, fact } = this.values.get(name);
      setHidden(fact, value === null);
      setText(text, value ?? "");
    }
  }

  tick() {
    this.table.tick();
  }

  close() {
    this.latency.close();
    this.node.remove();
  }
}
