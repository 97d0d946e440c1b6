// The page: whose list it is, what he likes and hides, and the live report.

import { ask, post, query, useKey, watch } from "./api.js";
import { cover, element, lines } from "./drawing.js";
import { operate } from "./operator.js";

const at = (id) => document.getElementById(id);
const KEPT = 120;
const ORDERS = { served: "served", popularity_decayed: "decayed popularity", popularity: "popularity", transitions: "transitions" };

let user = null;
const liked = new Map();
const waiting = [];
const history = { recall: [], rate: [], events: [] };

const tell = (text) => { at("state").textContent = text; };
const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

// --- the list -----------------------------------------------------------------------------------------------------

async function list(after) {
  const answer = user
    ? await ask(query("/v1/recommendations", { user_id: user, k: 10, ...(after ? { after, level: "history" } : {}) }))
    : await ask(query("/v1/popular", { k: 10 }));
  at("list-title").textContent = user ? `For ${user}` : "What everybody likes";
  at("list-source").textContent = `source: ${answer.source}${answer.degraded ? ", degraded" : ""}${answer.stale ? ", stale" : ""}`;
  show(answer.items);
  return answer;
}

function show(items) {
  const old = new Map([...at("items").children].map((row) => [row.dataset.id, row.getBoundingClientRect().top]));
  const first = old.size === 0;
  const rows = items.map((item) => place(item));
  at("items").replaceChildren(...rows);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const row of rows) {
    const before = old.get(row.dataset.id);
    if (before === undefined) row.classList.toggle("came", !first);
    else {
      const moved = before - row.getBoundingClientRect().top;
      if (moved) row.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 500, easing: "ease-out" });
    }
  }
}

function place(item) {
  const title = item.title || item.item_id;
  const details = [item.category && item.category.replaceAll("|", ", "), item.price === null ? null : `${item.price}`, `score ${item.score.toFixed(2)}`].filter(Boolean).join(" · ");
  return element("li", { "data-id": item.item_id },
    cover(title),
    element("div", {},
      element("div", { class: "title" }, title),
      element("div", { class: "reason" }, item.reason),
      element("div", { class: "reason" }, details)),
    element("div", { class: "actions" },
      element("button", { "aria-label": `Like ${title}`, onclick: () => act("like", item.item_id, title) }, "Like"),
      element("button", { "aria-label": `Hide ${title}`, onclick: () => act("hide", item.item_id, title) }, "Hide")));
}

// --- what people do -----------------------------------------------------------------------------------------------

async function act(type, itemId, title) {
  if (!user) visit();
  const began = performance.now();
  const event_id = `page-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  try {
    const accepted = await post("/v1/events", { event_id, user_id: user, item_id: itemId, type, timestamp: Date.now() / 1000 });
    at("clock-accepted").textContent = ms(performance.now() - began);
    const [receipt] = accepted.receipts;
    if (type === "like") {
      liked.set(itemId, title);
      showLiked();
    }
    await list(receipt);
    at("clock-counted").textContent = ms(performance.now() - began);
    at("clock-learned").textContent = "…";
    waiting.push({ receipt, began });
    if (waiting.length === 1) await untilLearned();
  } catch (error) {
    tell(error.message);
  }
}

async function untilLearned() {
  while (waiting.length) {
    const { receipt, began } = waiting[0];
    const fate = await ask(`/v1/events/${encodeURIComponent(receipt)}`);
    const waited = performance.now() - began;
    if (fate.state !== "accepted" || waited > 60000) {
      at("clock-learned").textContent = fate.state === "learned" ? ms(waited) : fate.state;
      waiting.shift();
    } else await new Promise((done) => setTimeout(done, 25));
  }
}

function showLiked() {
  at("liked").replaceChildren(...[...liked.values()].map((title) => element("li", {}, title)));
  at("liked-none").hidden = liked.size > 0;
}

function become(name) {
  user = name;
  liked.clear();
  showLiked();
}

function visit() {
  become(`visitor-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`);
  at("user").value = user;
}

// --- search -------------------------------------------------------------------------------------------------------

let searched = 0;

async function search() {
  const words = at("search").value.trim();
  const turn = ++searched;
  await new Promise((done) => setTimeout(done, 120));
  if (turn !== searched) return;
  try {
    const found = words ? (await ask(query("/v1/items", { q: words, k: 8 }))).items : [];
    if (turn !== searched) return;
    at("found").replaceChildren(...found.map((item) => {
      const title = item.title || item.item_id;
      const like = element("button", { "aria-label": `Like ${title}`, onclick: () => act("like", item.item_id, title) }, "Like");
      return element("li", {}, element("span", {}, title), like);
    }));
  } catch (error) {
    tell(error.message);
  }
}

// --- the live report ----------------------------------------------------------------------------------------------

function heard(document_, fault) {
  if (!document_) return tell(`no live report: ${fault}`);
  const report = document_.report;
  if (!report.recall10_window) return tell("connected; no trainer has reported yet");
  const now = performance.now() / 1000;
  const last = history.events.at(-1);
  const seconds = last ? now - last.at : 0;
  if (!last || seconds > 0.5) {
    const counts = { at: now, learned: report.events_learned, other: report.events_seen - report.events_learned };
    if (last) {
      counts.learnedPerS = Math.max(0, (counts.learned - last.learned) / seconds);
      counts.otherPerS = Math.max(0, (counts.other - last.other) / seconds);
    }
    keep(history.events, counts);
    keep(history.recall, report.recall10_window);
    keep(history.rate, report.learned_per_s);
  }
  tell(`connected · ${report.events_learned.toLocaleString("en")} events learned, ${report.scored.toLocaleString("en")} of them scored before`);
  lines(at("recall"), "recall at 10",
    Object.entries(ORDERS).map(([order, name]) => ({ name, values: history.recall.map((one) => one[order]) })), (value) => value.toFixed(3));
  lines(at("rate"), "events learned per second", [{ name: "events learned per second", values: history.rate }], (value) => value.toFixed(0));
  tables(report);
  operate(report, history.events);
}

function keep(values, value) {
  values.push(value);
  if (values.length > KEPT) values.shift();
}

function tables(report) {
  at("tables").replaceChildren(...[["users", report.users, report.user_capacity, report.user_growths], ["items", report.items, report.item_capacity, report.item_growths]]
    .map(([name, size, capacity, growths]) => {
      const fill = element("i");
      fill.style.width = `${(100 * size) / Math.max(capacity, 1)}%`;
      return element("div", {}, element("dt", {}, name), element("div", { class: "gauge", "aria-hidden": "true" }, fill),
        element("dd", {}, `${size.toLocaleString("en")} of ${capacity.toLocaleString("en")}, grown ${growths}×`));
    }));
}

// --- beginning ----------------------------------------------------------------------------------------------------

function choose(tab) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    at(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}

for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    const other = tab.nextElementSibling || tab.previousElementSibling;
    choose(other);
    other.focus();
  });
}

const orTell = (promise) => promise.catch((error) => tell(error.message));

at("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  become(at("user").value.trim());
  orTell(list());
});
at("visitor").addEventListener("click", () => { visit(); orTell(list()); });
at("search").addEventListener("input", search);
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value);
  at("key").value = "";
  orTell(list());
});
showLiked();
orTell(list());
watch(heard);
