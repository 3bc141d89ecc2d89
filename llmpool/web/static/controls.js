// Draining and resuming, where this viewer may.

import { make, setAttribute, setHidden, setText } from "./dom.js";
import { apart } from "./words.js";

const COOKIE = "llmpool_csrf";
const PATIENCE = 15; // seconds

function csrfToken() {
  for (const part of document.cookie.split(";")) {
    const [name, value] = part.trim().split("=");
    if (name === COOKIE) return decodeURIComponent(value ?? "");
  }
  return "";
}

// In front of the site there may be what answers otherwise: a login, a proxy.
const REFUSALS = {
  401: "you are not signed in",
  403: "you have no permission, or were signed out: reload this page",
};

async function refusal(answer) {
  const { error } = (await answer.json().catch(() => null)) ?? {};
  if (typeof error === "string") return error;
  return REFUSALS[answer.status] ?? `the server answered with an error (${answer.status})`;
}

// Ask the server; give null, or in words why not.
async function send(pool, deployment, action) {
  const stop = new AbortController();
  const limit = setTimeout(() => stop.abort(), PATIENCE * 1000);
  try {
    const answer = await fetch("control", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-LLMPool-CSRF": csrfToken() },
      body: JSON.stringify({ pool, deployment, action }),
      credentials: "same-origin",
      signal: stop.signal,
    });
    return answer.ok ? null : await refusal(answer);
  } catch {
    return stop.signal.aborted ? `no answer within ${PATIENCE} s` : "the server cannot be reached";
  } finally {
    clearTimeout(limit);
  }
}

// Ask the reader; Escape and Cancel are a no. The focus goes back to where it was.
function confirmed(title, words, yes) {
  const [dialog, heading, text, agree, cancel] = ["ask", "ask-title", "ask-words", "ask-yes", "ask-no"].map(
    (id) => document.getElementById(id),
  );
  setText(heading, title);
  setText(text, words);
  setText(agree, yes);
  agree.onclick = () => dialog.close("yes");
  cancel.onclick = () => dialog.close("no");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// The button of one row. `changed()` is called when the server has done it.
export class Control {
  constructor(pool, name, changed) {
    this.pool = pool;
    this.name = name;
    this.changed = changed;
    this.busy = false;
    this.action = "drain";
    this.others = 0;
    this.label = make("span");
    this.target = make("bdi", { class: "unseen", text: ` ${name}` });
    this.button = make("button", { type: "button" }, this.label, this.target);
    this.error = make("p", { class: "refused", role: "alert" });
    this.button.addEventListener("click", () => this.#press());
  }

  // `others`: how many deployments would still take calls without this one.
  show({ state, reason, requests_in_flight: inFlight }, others) {
    this.others = others;
    this.inFlight = inFlight;
    this.action = state === "draining" ? "resume" : "drain";
    // Weight 0 is in the pool's settings; resuming would not change it.
    setHidden(this.button, state === "draining" && reason === "weight 0");
    this.#label();
  }

  #label() {
    const words = this.busy
      ? { drain: "Draining…", resume: "Resuming…" }[this.action]
      : { drain: "Drain", resume: "Resume" }[this.action];
    setText(this.label, words);
    // Not `disabled`, which would throw the focus back to the top of the page.
    setAttribute(this.button, "aria-disabled", this.busy ? "true" : null);
  }

  #question() {
    const rest = this.others === 1 ? "one other deployment that takes" : `${this.others} others that take`;
    const now = this.others
      ? `New calls go to the ${rest} calls now.`
      : "No other deployment takes calls at this moment: calls to this pool will fail until it is resumed.";
    const flying = this.inFlight ? ` What is in flight (${this.inFlight}) is left to end.` : "";
    return `${now}${flying} Checks go on, and it stays drained until it is resumed.`;
  }

  async #press() {
    if (this.busy) return;
    const { action, name } = this;
    setText(this.error, "");
    if (action === "drain" && !(await confirmed(`Drain ${apart(name)}?`, this.#question(), "Drain"))) return;
    if (this.busy) return;
    this.busy = true;
    this.#label();
    const refusal = await send(this.pool, name, action);
    this.busy = false;
    this.#label();
    if (refusal) setText(this.error, `Not ${action === "drain" ? "drained" : "resumed"}: ${refusal}.`);
    else this.changed();
  }
}
