// The operator's view. What the live report holds is shown as it comes; the rest is asked for while the view is open.

import { ask, post, query } from "./api.js";
import { bars, element, lines } from "./drawing.js";

const at = (id) => document.getElementById(id);
const EVERY_MS = 2000;

let askedAt = -Infinity;

const row = (name, value, fine) =>
  element("tr", {}, element("th", { scope: "row" }, name), element("td", fine === undefined ? {} : { class: fine ? "good" : "bad" }, value));

export function operate(report, events) {
  if (at("operator").hidden) return;
  const outbox = Object.entries(report.outbox).map(([store, rows]) => `${store} ${rows}`).join(", ");
  at("trainer").tBodies[0].replaceChildren(
    row("lag, events", String(report.lag), report.lag < 10000),
    row("age of the newest snapshot", `${report.snapshot_age_s.toFixed(0)} s`, report.snapshot_age_s < 600),
    row("not yet in every store", outbox),
    row("ahead of decayed popularity", report.not_above_popularity ? "no" : "yes", !report.not_above_popularity),
    row("dead letters", String(report.dead_letters), report.dead_letters === 0),
    row("duplicates, repeats", `${report.duplicates}, ${report.repeats}`),
    row("epoch", String(report.epoch)));
  const rates = events.filter((one) => one.learnedPerS !== undefined);
  lines(at("events"), "events per second", [
    { name: "learned from", values: rates.map((one) => one.learnedPerS) },
    { name: "history only", values: rates.map((one) => one.otherPerS) },
  ], (value) => value.toFixed(0));
  if (performance.now() - askedAt > EVERY_MS) {
    askedAt = performance.now();
    for (const look of [services, top, outcomes, letters]) look().catch(() => {});
  }
}

async function services() {
  const status = await ask("/v1/status");
  const index = status.index;
  at("services").tBodies[0].replaceChildren(
    row("recommender", `version ${status.version}, ${status.in_flight} requests in flight, ${status.answers_5xx} errors`, status.answers_5xx === 0),
    row("index", index ? `${index.items.toLocaleString("en")} items, ${index.kind}` : status.index_error, Boolean(index && index.ready)),
    row("trainer", status.trainer ? "has reported" : status.trainer_error || "has not reported", Boolean(status.trainer)),
    ...Object.entries(status.breakers).map(([name, state]) => row(`breaker: ${name}`, state, state === "closed")));
}

async function top() {
  const { items } = await ask(query("/v1/popular", { k: 100 }));
  at("top").replaceChildren(...items.slice(0, 10).map((item) => element("li", {}, item.title || item.item_id)));
  const counts = new Map();
  for (const { category } of items) {
    const name = (category || "none").split("|")[0];
    counts.set(name, (counts.get(name) || 0) + 1);
  }
  bars(at("categories"), [...counts].sort((one, other) => other[1] - one[1]).slice(0, 10));
}

async function outcomes() {
  const { by_source } = await ask("/v1/outcomes");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  at("outcomes").tBodies[0].replaceChildren(...Object.entries(by_source).map(([source, rate]) =>
    element("tr", {}, element("th", { scope: "row" }, source), element("td", {}, rate.shown.toLocaleString("en")),
      element("td", {}, percent(rate.rate)), element("td", {}, `${percent(rate.low)} to ${percent(rate.high)}`))));
}

async function letters() {
  const rows = [];
  try {
    for (const topic of ["user_events", "items"]) {
      const { letters: found } = await ask(query("/v1/dead_letters", { k: 5, topic }));
      if (!found.length) continue;
      const name = topic === "items" ? "records of items" : "events";
      const again = element("button", { onclick: () => redrive(topic) }, `Append all ${name} to the log again`);
      rows.push(
        element("table", {}, element("tbody", {}, ...found.map((letter) =>
          row(`${topic} ${letter.receipt}: ${letter.reason}`, `${letter.detail} ${letter.value.slice(0, 200)}`)))),
        again);
    }
    if (at("letters").contains(document.activeElement)) return;
    at("letters").replaceChildren(...(rows.length ? rows : [element("p", { class: "quiet" }, "none")]));
  } catch (error) {
    at("letters").replaceChildren(element("p", { class: "quiet" }, error.message));
  }
}

async function redrive(topic) {
  try {
    const done = await post("/v1/dead_letters/redrive", { topic });
    at("state").textContent = `${Object.keys(done.receipts).length} dead letters appended again`;
  } catch (error) {
    at("state").textContent = error.message;
  }
  document.activeElement.blur();
}
