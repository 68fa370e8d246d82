"use strict";
// The page's only script: the theme switch, and the viewer of episodes. Texts of episodes reach the page as text nodes only.

const root = document.documentElement;
const themeButton = document.getElementById("theme");
const THEMES = ["auto", "light", "dark"];

function remembered() {
  try { return localStorage.getItem("edgexp-theme"); } catch { return null; }
}

function setTheme(theme) {
  if (theme === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = theme;
  themeButton.textContent = `Theme: ${theme}`;
  themeButton.value = theme;
  try { localStorage.setItem("edgexp-theme", theme); } catch { /* a page from disk may have no storage */ }
}

setTheme(THEMES.includes(remembered()) ? remembered() : "auto");
themeButton.hidden = false;
themeButton.addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(themeButton.value) + 1) % 3]));

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "colour") made.style.setProperty("--colour", `var(--c${value % 8})`);
    else if (name === "share") made.style.setProperty("--share", `${100 * value}%`);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

const percent = (share) => (share >= 0.995 && share < 1 ? ">99 %" : share > 0 && share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`);
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

class Viewer {
  constructor(data) {
    this.data = data;
    this.haystacks = new Map();
    this.shown = [];
    this.selected = null;
    for (const id of ["search", "place", "type", "outcome", "conditions", "list", "count", "episode"]) this[id] = document.getElementById(`v-${id}`);
    this.fill(this.place, data.tasks.map((task) => task.place));
    this.fill(this.type, data.tasks.map((task) => task.type));
    data.conditions.forEach((condition, place) => {
      const box = el("input", { type: "checkbox", value: place, checked: place < 4 || data.conditions.length <= 5 });
      this.conditions.append(el("label", { class: "chip", colour: place }, box, el("span", { class: "swatch" }), condition.name));
    });
    this.search.addEventListener("input", () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.filter(), 150); });
    for (const control of [this.place, this.type, this.outcome, this.conditions]) control.addEventListener("change", () => this.filter());
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.select(Number(option.dataset.task));
    });
    this.list.addEventListener("keydown", (event) => this.key(event));
    addEventListener("hashchange", () => this.followHash());
    this.filter();
    this.followHash();
  }

  fill(control, values) {
    for (const value of [...new Set(values)].sort()) control.append(el("option", { value }, value));
  }

  chosen() {
    return [...this.conditions.querySelectorAll("input:checked")].map((box) => Number(box.value));
  }

  haystack(index) {
    if (!this.haystacks.has(index)) {
      const task = this.data.tasks[index];
      const parts = [task.id, task.goal, task.type];
      for (const episode of Object.values(task.episodes)) {
        parts.push(episode.observation, episode.end);
        for (const [action, observation] of episode.steps) parts.push(action, observation);
      }
      this.haystacks.set(index, parts.join("\n").toLowerCase());
    }
    return this.haystacks.get(index);
  }

  passes(task, index, chosen, words) {
    if (this.place.value && task.place !== this.place.value) return false;
    if (this.type.value && task.type !== this.type.value) return false;
    const outcomes = chosen.filter((place) => task.episodes[place]).map((place) => task.episodes[place].won);
    if (chosen.length && !outcomes.length) return false;
    const won = outcomes.filter(Boolean).length;
    const wanted = { "": true, some: won > 0, all: won === outcomes.length, none: won === 0, differ: won > 0 && won < outcomes.length };
    return wanted[this.outcome.value] && words.every((word) => this.haystack(index).includes(word));
  }

  filter() {
    const chosen = this.chosen(), words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = this.data.tasks.map((_, index) => index).filter((index) => this.passes(this.data.tasks[index], index, chosen, words));
    this.list.replaceChildren(...this.shown.map((index) => this.option(index, chosen)));
    this.count.textContent = `${plural(this.shown.length, "task")} of ${this.data.tasks.length.toLocaleString("en")}`;
    if (!this.shown.length) this.list.append(el("div", { class: "empty" }, "No task passes these filters."));
    this.select(this.shown.includes(this.selected) ? this.selected : this.shown[0], false);
  }

  option(index, chosen) {
    const task = this.data.tasks[index];
    const marks = chosen.filter((place) => task.episodes[place]).map((place) => {
      const won = task.episodes[place].won;
      const name = `${this.data.conditions[place].name}: ${won ? "won" : "lost"}`;
      return el("span", { colour: place, title: name }, el("span", { "aria-hidden": "true" }, won ? "✓" : "✗"), el("span", { class: "hidden" }, `${name}. `));
    });
    return el("div", { class: "option", role: "option", id: `task-${index}`, "data-task": index, "aria-selected": "false" },
      el("span", { class: "goal" }, task.goal), el("span", { class: "under" }, task.id, el("span", { class: "marks" }, marks)));
  }

  key(event) {
    const at = this.shown.indexOf(this.selected), last = this.shown.length - 1;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last, PageDown: at + 10, PageUp: at - 10 }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.select(this.shown[Math.max(0, Math.min(last, to))]);
  }

  followHash() {
    const wanted = decodeURIComponent(location.hash.replace(/^#task=/, ""));
    const index = location.hash.startsWith("#task=") ? this.data.tasks.findIndex((task) => task.id === wanted) : -1;
    if (index >= 0 && index !== this.selected) {
      this.select(index);
      document.getElementById("episodes").scrollIntoView();
    }
  }

  select(index, byHand = true) {
    document.getElementById(`task-${this.selected}`)?.setAttribute("aria-selected", "false");
    this.selected = index;
    const option = document.getElementById(`task-${index}`);
    option?.setAttribute("aria-selected", "true");
    if (option) this.list.setAttribute("aria-activedescendant", option.id); else this.list.removeAttribute("aria-activedescendant");
    if (byHand && option) {
      const box = this.list.getBoundingClientRect(), own = option.getBoundingClientRect();
      if (own.top < box.top) this.list.scrollTop -= box.top - own.top;
      if (own.bottom > box.bottom) this.list.scrollTop += own.bottom - box.bottom;
    }
    this.show(index);
    if (byHand) history.replaceState(null, "", `#task=${encodeURIComponent(this.data.tasks[index].id)}`);
  }

  show(index) {
    if (index === undefined) return this.episode.replaceChildren(el("p", { class: "empty" }, "No task is chosen."));
    const task = this.data.tasks[index];
    const places = this.chosen().filter((place) => task.episodes[place]);
    const first = places.length ? task.episodes[places[0]] : null;
    this.episode.replaceChildren(
      el("h3", null, task.goal),
      el("p", { class: "text" }, `${task.id} · ${task.type} · ${task.place}`),
      el("div", { class: "columns" }, places.map((place) => this.column(place, task.episodes[place], first))),
    );
  }

  column(place, episode, first) {
    const name = this.data.conditions[place].name, tokens = episode.tokens;
    const partly = !episode.won && episode.score > 0 ? ` · score ${episode.score.toFixed(2)}` : "";
    const end = episode.end === "done" ? "" : ` · ${episode.end.replace("_", " ")}`;
    const cost = [`${episode.seconds.toFixed(episode.seconds < 10 ? 1 : 0)} s${episode.parallel > 1 ? ` among ${episode.parallel} at once` : ""}`];
    if (tokens.prompt) cost.push(`prompt ${plural(tokens.prompt, "token")}`, `${tokens.evaluated.toLocaleString("en")} evaluated`, `${tokens.reused.toLocaleString("en")} reused`);
    const departs = episode === first ? -1 : episode.steps.findIndex(([action], number) => first.steps[number]?.[0] !== action);
    return el("section", { class: "episode", colour: place, "aria-label": `${name}: ${episode.won ? "won" : "lost"}` },
      el("header", null, el("h4", null, name),
        el("span", { class: `badge ${episode.won ? "won" : "lost"}` }, `${episode.won ? "✓ won" : "✗ lost"} · ${plural(episode.steps.length, "step")}${partly}${end}`)),
      el("p", { class: "cost" }, cost.join(" · ")),
      this.recall(episode, 0),
      el("p", { class: "first" }, episode.observation),
      el("ol", { class: "steps" }, episode.steps.map((step, number) => this.step(episode, step, number, number === departs))));
  }

  step(episode, [action, observation, reward, probability, others], number, departs) {
    const sure = probability == null ? null : el("span", { class: "sure", title: "probability among the valid actions" },
      el("span", { class: "bar", "aria-hidden": "true", share: probability }, el("i")), ` ${percent(probability)}`);
    return el("li", null,
      number > 0 && this.recall(episode, number),
      departs && el("span", { class: "departs" }, "here it departs from the first column"),
      el("div", { class: "act" }, el("span", { class: "no" }, String(number + 1)), el("code", null, action || "(nothing)"), sure),
      others.length > 0 && el("details", null, el("summary", null, plural(others.length, "alternative")),
        el("ul", { class: "others" }, others.map(([text, share]) => el("li", null, el("code", null, text), el("span", null, percent(share)))))),
      el("p", { class: "seen" }, observation + (reward ? `  [reward ${reward}]` : "")));
  }

  recall(episode, step) {
    const found = episode.recalls.find((recall) => recall.step === step);
    if (!found) return null;
    const dropped = found.dropped.length ? `, ${found.dropped.length} left out` : "";
    return el("details", { class: "memory" },
      el("summary", null, `Remembered ${plural(found.used.length, "episode")}${dropped}`),
      el("ul", null, found.used.map((memory) => this.memory(memory)), found.dropped.map((memory) => this.memory(memory))),
      el("details", null, el("summary", null, "The query"), el("div", { class: "query" }, found.query)));
  }

  memory(memory) {
    const text = this.data.memories[memory.id];
    const title = [memory.score.toFixed(3), memory.task_id && (memory.success ? "✓ won" : "✗ lost"), memory.task_type, memory.task_id || memory.id].filter(Boolean).join(" · ");
    const cost = memory.tokens ? ` (${plural(memory.tokens, "token")})` : "";
    const why = memory.reason ? el("div", { class: "lost-reason" }, `left out: ${memory.reason}${cost}`) : null;
    if (!text) return el("li", null, title, why);
    return el("li", null, el("details", null, el("summary", null, title),
      el("div", null, text.goal), el("div", { class: "seen" }, text.observation),
      el("ol", null, text.steps.map(([action, observation]) => el("li", null, el("code", null, action), el("div", { class: "seen" }, observation))))), why);
  }
}

async function start() {
  const packed = document.getElementById("v-data"), state = document.getElementById("v-state");
  if (!packed) return;
  try {
    window.viewer = new Viewer(await unpack(packed.textContent));
    state.remove();
    document.getElementById("v-body").hidden = false;
  } catch (error) {
    state.textContent = `The episodes cannot be shown: ${error.message}. The figures above do not depend on them.`;
  }
}

start();
