"use strict";
// Without this script the page is whole: all rows, all clips in film order, all subjects.
const FEW = 4; // clips of each of worst, middle and best
const byId = (id) => document.getElementById(id);

const leading = byId("leading"), each = byId("each");
each.addEventListener("click", () => {
  const shown = each.getAttribute("aria-pressed") === "true";
  each.setAttribute("aria-pressed", String(!shown));
  leading.classList.toggle("means", shown);
});
leading.classList.add("means");
for (const part of document.querySelectorAll(".controls")) part.hidden = false;

const box = byId("cards"), controls = byId("controls"), turn = byId("turn");
const cards = [...box.children];
const buttons = (key) => [...controls.querySelectorAll(`button[data-${key}]`)];
const state = { subject: buttons("subject")[0].dataset.subject, by: "cider", all: "", high: false };

const reading = (card) =>
  [...card.querySelectorAll(".reading")].find((r) => r.dataset.subject === state.subject);
const isScore = () => !["time", "place"].includes(state.by);

function value(card) {
  const own = isScore() ? reading(card) : card;
  const text = own ? own.dataset[state.by] : "";
  return text === "" ? NaN : Number(text);
}

// Lowest first; a clip without a number last, whichever way; equals in film order.
function ordered() {
  const rows = cards.filter(reading).map((card) => ({ card, value: value(card) }));
  const known = rows.filter((r) => !Number.isNaN(r.value));
  known.sort((a, b) => a.value - b.value || a.card.dataset.time - b.card.dataset.time);
  known.forEach((row, i) => { row.rank = i + 1; row.of = known.length; });
  if (state.high) known.reverse();
  return [...known, ...rows.filter((r) => Number.isNaN(r.value))];
}

function spread(rows) {
  if (rows.length <= 3 * FEW) return rows;
  const middle = Math.floor((rows.length - FEW) / 2);
  return [...rows.slice(0, FEW), ...rows.slice(middle, middle + FEW), ...rows.slice(-FEW)];
}

// Where a clip of the opening view lies; rank 1 is the lowest.
function place(rank, of) {
  if (state.all || of <= 3 * FEW) return "";
  return rank <= FEW ? "worst: " : rank > of - FEW ? "best: " : "middle: ";
}

function apply() {
  if (!state.all && !isScore()) state.by = "cider";
  const name = controls.querySelector(`[data-by="${state.by}"]`).textContent;
  const rows = ordered();
  const chosen = state.all ? rows : spread(rows.filter((r) => r.rank));
  for (const card of cards) card.hidden = true;
  for (const { card, rank, of } of chosen) {
    card.hidden = false;
    for (const part of card.querySelectorAll(".reading")) {
      part.hidden = part.dataset.subject !== state.subject;
    }
    // of top-1 there are no ranks: most clips are either found or not
    card.querySelector(".rank").textContent =
      ["cider", "similarity"].includes(state.by) && rank
        ? `${place(rank, of)}${of + 1 - rank} of ${of} by ${name}`
        : "";
    box.append(card);
  }
  for (const key of ["subject", "by", "all"]) {
    for (const b of buttons(key)) b.setAttribute("aria-pressed", String(b.dataset[key] === state[key]));
  }
  turn.setAttribute("aria-pressed", String(state.high));
  const order = state.by === "place" ? "in a shuffled order" : `by ${name}, ${state.high ? "highest" : "lowest"} first`;
  const which = state.all || chosen.length === rows.length ? "all" : "worst, middle and best";
  byId("status").textContent =
    `sub-${state.subject}: ${chosen.length} of ${rows.length} clips (${which}), ${order}.`;
}

for (const key of ["subject", "by", "all"]) {
  for (const button of buttons(key)) {
    button.addEventListener("click", () => {
      state[key] = button.dataset[key];
      if (key === "by" && !isScore()) state.all = "yes"; // worst and best are of a score
      apply();
    });
  }
}
turn.addEventListener("click", () => { state.high = !state.high; apply(); });
box.classList.add("chosen");
apply();
