"use strict";
// The contact sheet. State is the exams set aside: what exclude.csv said when the page was made,
// changed by what was clicked since, which the browser keeps under the page's title.
const data = JSON.parse(document.getElementById("data").textContent);
const cards = [...document.querySelectorAll(".exam")];
const field = (id) => document.getElementById(id);
const store = "scan2gene qc " + data.title;
const base = new Map(); // exam number -> {reason, text, raw} as the exclude file has it
let changed = {}; // exam id -> {reason, text}, or null where a mark was taken away
let current = 0;

for (const row of data.rows) for (const n of row.exams) if (!base.has(n)) base.set(n, parsed(row.reason));
try { changed = JSON.parse(localStorage.getItem(store)) || {}; } catch { field("unsaved").hidden = false; }

function parsed(raw) {
  const reason = data.reasons.find((r) => raw === r || raw.startsWith(r + ": "));
  return reason ? { reason, text: raw.slice(reason.length + 2), raw } : { reason: "other", text: raw, raw };
}

const key = (n) => cards[n].dataset.exam;
const mark = (n) => (key(n) in changed ? changed[key(n)] : base.get(n) || null);
const written = (m) => (m.raw !== undefined ? m.raw : m.text ? m.reason + ": " + m.text : m.reason);

function set(n, value) {
  changed[key(n)] = value;
  try { localStorage.setItem(store, JSON.stringify(changed)); } catch { field("unsaved").hidden = false; }
  show(n);
  count();
}

function show(n) {
  const card = cards[n], now = mark(n);
  card.classList.toggle("aside", now !== null);
  const button = card.querySelector("button");
  button.setAttribute("aria-pressed", String(now !== null));
  button.textContent = now ? "Set aside ✗" : "Set aside";
  card.querySelector(".why").hidden = now === null;
  if (!now) return;
  card.querySelector("select").value = now.reason;
  const text = card.querySelector("input");
  if (text !== document.activeElement) text.value = now.text;
}

function count() {
  const aside = cards.filter((_, n) => mark(n)).length;
  const seen = cards.filter((c) => !c.hidden).length;
  field("count").textContent = `${seen} of ${cards.length} exams shown; ${aside} set aside`;
}

function rows() {
  // a row of the exclude file stays while every exam that it sets aside still is, for the same reason
  const same = (n) => mark(n) && written(mark(n)) === written(base.get(n));
  const stay = data.rows.filter((row) => row.exams.every(same));
  const covered = new Set(stay.flatMap((row) => row.exams));
  const out = stay.map((row) => [row.patient_id, row.series_id, row.reason]);
  cards.forEach((_, n) => {
    if (mark(n) && !covered.has(n)) for (const s of data.exams[n].series) out.push(["", s, written(mark(n))]);
  });
  return out;
}

function csv() {
  // a text that a spreadsheet would compute gets an apostrophe, as in the tables of a run
  const harmless = (v) => (/^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(v)
    && !/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(v) ? "'" + v : v);
  const quoted = (v) => (/[",\r\n;\t]/.test(v) ? '"' + v.replaceAll('"', '""') + '"' : v);
  return [["patient_id", "series_id", "reason"], ...rows()].map((r) => r.map((v) => quoted(harmless(v))).join(",")).join("\n") + "\n";
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "exclude.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function arrange() {
  const only = field("filter").value, order = field("sort").value;
  const words = field("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const flagged = (n) => data.exams[n].flags.length;
  cards.forEach((card, n) => {
    const has = { all: true, flagged: flagged(n) > 0, clean: flagged(n) === 0, aside: mark(n) !== null, left: !mark(n) };
    const kept = only in has ? has[only] : data.exams[n].flags.includes(only);
    const told = card.textContent.toLowerCase();
    card.hidden = !kept || !words.every((w) => told.includes(w));
  });
  const by = { listed: (a, b) => a - b, flags: (a, b) => flagged(b) - flagged(a) || a - b };
  const sheet = field("sheet");
  for (const n of [...cards.keys()].sort(by[order])) sheet.append(cards[n]);
  if (cards[current].hidden) focusOn(visible()[0], false);
  count();
}

// in the order in which they stand on the page
const visible = () => [...document.querySelectorAll(".exam")].filter((c) => !c.hidden).map((c) => cards.indexOf(c));

function focusOn(n, really = true) {
  if (n === undefined) return;
  cards[current].tabIndex = -1;
  current = n;
  cards[n].tabIndex = 0;
  if (really) { cards[n].focus(); cards[n].scrollIntoView({ block: "nearest" }); }
}

function move(name) {
  const order = visible(), at = order.indexOf(current);
  if (name === "ArrowRight") return focusOn(order[at + 1]);
  if (name === "ArrowLeft") return focusOn(order[at - 1]);
  const here = cards[current].getBoundingClientRect(), down = name === "ArrowDown";
  const beyond = order.map((n) => [n, cards[n].getBoundingClientRect()])
    .filter(([, r]) => (down ? r.top >= here.bottom - 1 : r.bottom <= here.top + 1));
  const gap = ([, r]) => Math.abs(r.top - here.top) * 4 + Math.abs(r.left - here.left);
  focusOn(beyond.sort((a, b) => gap(a) - gap(b))[0]?.[0]);
}

const toggle = (n) => set(n, mark(n) ? null : { reason: data.reasons[0], text: "" });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape" && event.target.closest(".exam")) focusOn(cards.indexOf(event.target.closest(".exam")));
    return;
  }
  const number = Number(event.key) - 1;
  if (event.key.startsWith("Arrow")) move(event.key);
  else if (event.key === "x" || event.key === "X") toggle(current);
  else if (event.key !== " " && data.reasons[number]) set(current, { reason: data.reasons[number], text: "" });
  else return;
  event.preventDefault();
});

cards.forEach((card, n) => {
  card.addEventListener("focusin", () => focusOn(n, false));
  card.querySelector("button").addEventListener("click", () => toggle(n));
  for (const picture of card.querySelectorAll("img")) picture.addEventListener("click", () => { toggle(n); focusOn(n); });
  const select = card.querySelector("select"), text = card.querySelector("input");
  const take = () => set(n, { reason: select.value, text: text.value.trim() });
  select.addEventListener("change", take);
  text.addEventListener("input", take);
  show(n);
});
for (const id of ["filter", "sort", "search"]) field(id).addEventListener("input", arrange);
field("download").addEventListener("click", download);
field("forget").addEventListener("click", () => {
  if (!confirm("Forget every mark made in this browser? Marks of the exclude file stay.")) return;
  changed = {};
  try { localStorage.removeItem(store); } catch { /* nothing was kept */ }
  cards.forEach((_, n) => show(n));
  arrange();
});
if (cards.length) { focusOn(0, false); count(); }
document.documentElement.classList.add("ready");
