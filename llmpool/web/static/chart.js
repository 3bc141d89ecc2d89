// One chart of latency over the last hour: a line for each deployment that the reader chose.

import { make, setAttribute } from "./dom.js";
import { milliseconds, minuteOf } from "./words.js";

const HEIGHT = 170;
const COLOURS = 6;
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A line's name in the style sheet and its dashes: together no two of the first twelve are alike, and
// neighbours differ in both.
export const styleOf = (slot) => ({ name: `line-${slot % COLOURS}`, dash: DASHES[slot % DASHES.length] });

export class Chart {
  // `owner`: its id, the `time` that is drawn, and `readAt(index)`, told where the cursor is.
  constructor({ field, title, words }, owner) {
    this.field = field;
    this.owner = owner;
    this.title = title;
    this.box = make("div", { class: "chart", role: "img" });
    this.node = make(
      "figure",
      {},
      make("figcaption", {}, make("strong", { text: title }), ` ${words}`),
      this.box,
    );
    this.plot = null;
    this.resized = new ResizeObserver(() => this.plot?.setSize(this.#size()));
    this.resized.observe(this.box);
  }

  #size() {
    return { width: Math.max(160, Math.floor(this.box.clientWidth)), height: HEIGHT };
  }

  // `lines`: a name and a slot for each.
  show(history, lines, rebuild) {
    const { words } = this.owner.time;
    const data = [history.at, ...lines.map(({ name }) => history.deployments[name][this.field])];
    const values = data
      .slice(1)
      .flat()
      .filter((value) => value !== null);
    const range = values.length
      ? `between ${milliseconds(Math.min(...values))} and ${milliseconds(Math.max(...values))}`
      : "no calls";
    setAttribute(
      this.box,
      "aria-label",
      `Chart of ${this.title} latency over ${words}: ${range}. The table below holds the figures.`,
    );
    if (this.plot && !rebuild) {
      this.plot.setData(data);
      return;
    }
    this.plot?.destroy();
    this.plot = new window.uPlot(this.#options(lines), data, this.box);
  }

  #options(lines) {
    const axis = {
      stroke: () => colour("--muted"),
      font: "12px system-ui, sans-serif",
      ticks: { show: false },
      grid: { stroke: () => colour("--grid"), width: 1 },
    };
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: this.owner.id }, points: { size: 7 } },
      scales: {
        x: { time: true, range: () => [this.owner.time.begin, this.owner.time.at] },
        y: { range: (_plot, _least, most) => [0, (most ?? 0) > 0 ? most * 1.08 : 1] },
      },
      axes: [
        { ...axis, size: 30, gap: 6, space: 70, values: (_plot, ticks) => ticks.map(minuteOf) },
        {
          ...axis,
          size: 62,
          space: 34,
          values: (_plot, ticks) => ticks.map((tick) => (tick ? milliseconds(tick) : "0")),
        },
      ],
      series: [
        {},
        ...lines.map(({ name, slot }) => {
          const style = styleOf(slot);
          return {
            label: name,
            stroke: () => colour(`--${style.name}`),
            width: 1.75,
            dash: style.dash,
            points: { size: 4, fill: () => colour(`--${style.name}`) },
          };
        }),
      ],
      hooks: { setCursor: [(plot) => this.owner.readAt(plot.cursor.left >= 0 ? plot.cursor.idx : null)] },
    };
  }

  redraw() {
    this.plot?.redraw(false);
  }

  close() {
    this.resized.disconnect();
    this.plot?.destroy();
  }
}
