// Asking for the feed again and again: slower in a hidden tab, ever slower while it fails.

const PATIENCE = 10; // seconds for one answer
const HIDDEN = 30; // the least between two questions while nobody looks
const LONGEST = 60; // the most between two attempts while it fails
const FIRST_REFRESH = 2; // until the feed tells

// A failure whose message is for the reader.
export class FeedError extends Error {}

async function fetchFeed(history) {
  const stop = new AbortController();
  const limit = setTimeout(() => stop.abort(), PATIENCE * 1000);
  try {
    const answer = await fetch(history ? "status?history=1" : "status", {
      headers: { Accept: "application/json" },
      cache: "no-store",
      credentials: "same-origin",
      signal: stop.signal,
    });
    if (!answer.ok) throw new FeedError(refusal(answer.status));
    return checked(await answer.json());
  } catch (error) {
    if (error instanceof FeedError) throw error;
    if (stop.signal.aborted) throw new FeedError(`The server did not answer within ${PATIENCE} s.`);
    if (error instanceof SyntaxError)
      throw new FeedError(
        "The server answered with something else than the status. If you were signed out, reload this page.",
      );
    throw new FeedError("The server cannot be reached.");
  } finally {
    clearTimeout(limit);
  }
}

function refusal(status) {
  if (status === 401 || status === 403)
    return `The server refuses to tell (${status}). If you were signed out, reload this page.`;
  return `The server answered with an error (${status}).`;
}

function checked(feed) {
  if (feed === null || typeof feed !== "object" || !Array.isArray(feed.pools)) {
    throw new FeedError("The server answered with something else than the status.");
  }
  return feed;
}

export class Feed {
  // `show(feed)` for each answer, `trouble(words, seconds)` for each failure: seconds until the next attempt.
  constructor({ show, trouble }) {
    this.show = show;
    this.trouble = trouble;
    this.refresh = FIRST_REFRESH;
    this.failures = 0;
    this.timer = null;
    this.asking = false;
    this.historyAt = -Infinity;
    this.historyEvery = 0;
    document.addEventListener("visibilitychange", () => document.hidden || this.soon());
    window.addEventListener("online", () => this.soon());
  }

  // Ask at once, unless an answer is being waited for.
  soon() {
    if (!this.asking) this.#ask();
  }

  // Let the next question be for the history as well.
  wantHistory() {
    this.historyAt = -Infinity;
  }

  async #ask() {
    clearTimeout(this.timer);
    this.asking = true;
    const history = performance.now() >= this.historyAt + this.historyEvery * 1000;
    let delay;
    try {
      const feed = await fetchFeed(history);
      this.#learn(feed, history);
      this.failures = 0;
      delay = this.#pause();
      this.show(feed);
    } catch (error) {
      if (!(error instanceof FeedError)) throw error;
      this.failures += 1;
      this.wantHistory(); // what was missed meanwhile
      delay = this.#pause();
      this.trouble(error.message, delay);
    } finally {
      this.asking = false;
      this.timer = setTimeout(() => this.#ask(), (delay ?? LONGEST) * 1000);
    }
  }

  #learn(feed, history) {
    if (feed.refresh > 0) this.refresh = feed.refresh;
    if (!history) return;
    this.historyAt = performance.now();
    const step = Math.max(...feed.pools.map((pool) => pool.history?.step ?? 0), 0);
    this.historyEvery = Math.max(this.refresh, Math.min(step / 2, this.refresh * 5));
  }

  #pause() {
    const least = document.hidden ? Math.max(HIDDEN, this.refresh) : this.refresh;
    if (!this.failures) return least;
    // A little apart, so that many open pages do not come back all at once.
    const spread = 0.75 + Math.random() * 0.5;
    return Math.max(least, Math.min(LONGEST, this.refresh * 2 ** this.failures) * spread);
  }
}
