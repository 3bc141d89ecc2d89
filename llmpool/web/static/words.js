// Numbers, times and states as people read them.

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clockTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const shortTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export const STATES = {
  healthy: "Healthy",
  cooling: "Cooling down",
  recovering: "Recovering",
  unhealthy: "Unhealthy",
  disabled: "Disabled",
  draining: "Draining",
};

const WORST_FIRST = ["unhealthy", "disabled", "cooling", "recovering", "draining", "healthy"];

// A name within a sentence, whichever way it is written.
export const apart = (name) => `\u2068${name}\u2069`;

// Where a state stands in an order of worst first; one that this page does not know stands first.
export const rank = (state) => WORST_FIRST.indexOf(state);

// The state that is drawn: one that this page does not know has a drawing of its own.
export const drawn = (state) => (Object.hasOwn(STATES, state) ? state : "unknown");

export const stateWord = (state) => (Object.hasOwn(STATES, state) ? STATES[state] : String(state));

export function milliseconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 9.95) return `${value.toFixed(1)} ms`;
  if (value < 999.5) return `${Math.round(value)} ms`;
  return value < 9995 ? `${(value / 1000).toFixed(2)} s` : `${(value / 1000).toFixed(1)} s`;
}

export function percent(share) {
  if (share === null || share === undefined) return NONE;
  const value = share * 100;
  if (value === 0 || value === 100) return `${value} %`;
  if (value < 0.1) return "< 0.1 %";
  // 99.97 must not read as 100.
  return value > 99.9 ? "> 99.9 %" : `${value.toFixed(value < 9.95 || value >= 99.5 ? 1 : 0)} %`;
}

export const count = (value) => whole.format(value ?? 0);

// A count that may be large: in three digits or so, from ten thousand on.
export const compact = (value) => (value < 10000 ? whole : short).format(value ?? 0);

// In whatever currency the pool's prices are.
export function cost(value) {
  if (value === null || value === undefined) return NONE;
  const digits = value === 0 || value >= 100 ? 2 : value >= 1 ? 3 : 4;
  return new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: digits }).format(
    value,
  );
}

export function duration(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min ${left % 60} s`;
  const minutes = Math.floor(left / 60);
  return minutes < 1440
    ? `${Math.floor(minutes / 60)} h ${minutes % 60} min`
    : `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

// Epoch seconds in the reader's own time zone.
export const timeOf = (at) => clockTime.format(new Date(at * 1000));
export const minuteOf = (at) => shortTime.format(new Date(at * 1000));

export const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);

// How a pool is, in a word or two that come first, a sentence, and one of good, warn, bad.
export function poolWords(pool) {
  if (pool.problem) return { word: "Unknown", sentence: `${capital(pool.problem)}.`, mood: "bad" };
  const total = pool.total_deployments;
  const healthy = pool.deployments.filter(
    (deployment) => deployment.healthy && deployment.state !== "draining",
  ).length;
  const open = pool.deployments.filter((deployment) => deployment.eligible).length;
  const other = {};
  for (const { state } of pool.deployments) if (state !== "healthy") other[state] = (other[state] ?? 0) + 1;
  const names = Object.keys(other).sort((a, b) => rank(a) - rank(b));
  const rest = names.map((state) => `${other[state]} ${stateWord(state).toLowerCase()}`).join(", ");
  const numbers = `${healthy} of ${total} healthy${rest ? ` (${rest})` : ""}`;
  if (total === 0) return { word: "Empty", sentence: "It has no deployments.", mood: "bad" };
  if (healthy === 0) return { word: "Down", sentence: `None of ${total} healthy: ${rest}.`, mood: "bad" };
  if (open === 0)
    return { word: "Busy", sentence: `No deployment takes calls at this moment: ${numbers}.`, mood: "bad" };
  if (!pool.ready) return { word: "Below quorum", sentence: `${numbers}.`, mood: "bad" };
  if (names.length) return { word: "Degraded", sentence: `${numbers}.`, mood: "warn" };
  return {
    word: "Healthy",
    sentence: total === 1 ? "Its deployment is healthy." : `All ${total} healthy.`,
    mood: "good",
  };
}
