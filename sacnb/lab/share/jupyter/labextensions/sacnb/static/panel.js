// The panel in the side bar: tenants and their tokens, the tree of models, and what is done with a model.

import {acceptDrops, codeFor, insertCode} from "./code.js";
import {make, sign, Tree} from "./tree.js";

const DRAGGED = "application/x-sacnb";
const JOB_EVERY_MS = 500;
const LOOK_EVERY_MS = 30_000;
const SIGNS = {
  idle: '<circle cx="8" cy="8" r="6" fill="none" stroke="#767676" stroke-width="2"/>',
  busy: '<path d="M8 2a6 6 0 1 1-6 6" fill="none" stroke="#0072b2" stroke-width="2.5" stroke-linecap="round"/>',
  good: '<circle cx="8" cy="8" r="8" fill="#00825f"/><path d="M4.3 8.3l2.6 2.6 4.9-5.4" fill="none" stroke="#fff" stroke-width="2"/>',
  old: '<path d="M8 0.8L16 15H0z" fill="#d55e00"/><path d="M8 5.5v4.6M8 11.6v2" stroke="#fff" stroke-width="2"/>',
  stopped: '<circle cx="8" cy="8" r="8" fill="#767676"/><path d="M5 5h6v6H5z" fill="#fff"/>',
  failed: '<circle cx="8" cy="8" r="8" fill="#d4004a"/><path d="M5 5l6 6M11 5l-6 6" stroke="#fff" stroke-width="2"/>',
};

/** An error of a route, in the words that the server has for it. */
class Refused extends Error {
  constructor({message, hint = "", details = []}) {
    super(message);
    this.hint = hint;
    this.details = details;
  }
}

const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

function ageOf(moment) {
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(moment)) / 1000));
  for (const [size, word] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    if (seconds >= size) return count(Math.floor(seconds / size), word);
  }
  return count(seconds, "second");
}

function clock(moment) {
  const at = new Date(moment);
  const pad = (number) => String(number).padStart(2, "0");
  const minutes = -at.getTimezoneOffset();
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  const zone = minutes ? `UTC${minutes < 0 ? "-" : "+"}${hours}${rest ? `:${pad(rest)}` : ""}` : "UTC";
  const day = at.toDateString() === new Date().toDateString() ? "" : `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} `;
  return `${day}${pad(at.getHours())}:${pad(at.getMinutes())} ${zone}`;
}

const cachedText = (cached) => (cached ? `${count(cached.rows, "row")}, ${ageOf(cached.refreshed_at)} old` : "");

class Panel {
  constructor(app, given) {
    this.app = app;
    this.given = given;
    this.profile = null;
    this.tenants = [];
    this.models = new Map(); // by id, in SAC's order
    this.found = null; // the ids that the search found; null without a search
    this.children = new Map(); // of open models: what the server said of them
    this.members = new Map(); // of open dimensions
    this.open = new Set();
    this.busy = new Set();
    this.job = null;
    this.asked = 0;
    this.build();
  }

  // -- the parts ------------------------------------------------------------------------------------------------------

  build() {
    const button = (label, title, action, className = "") => {
      const made = make("button", {type: "button", textContent: label, title, className: `sacnb-button ${className}`});
      made.addEventListener("click", () => action.call(this));
      return made;
    };
    this.select = make("select", {className: "sacnb-select"}, {"aria-label": "Tenant"});
    this.select.addEventListener("change", () => this.use(this.select.value));
    this.token = make("span", {className: "sacnb-token"});
    this.renew = button("Renew token", "Get a new token now", this.renewToken, "sacnb-small");
    this.search = make("input", {type: "search", placeholder: "Search models and members", className: "sacnb-search"}, {
      "aria-label": "Search models and members",
    });
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.find(), 250);
    });
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") this.tree.focus();
    });
    this.reload = button("", "Read the lists again", () => this.load({fresh: true}), "sacnb-small sacnb-square");
    this.reload.setAttribute("aria-label", "Read the lists again");
    this.reload.append(sign('<path d="M13 8a5 5 0 1 1-1.6-3.7M13 1.5V5H9.5"/>', "sacnb-line"));
    this.tree = new Tree("Models", () => this.nodes(), {
      open: (node) => this.openNode(node),
      close: (node) => {
        this.open.delete(node.key);
        this.tree.render();
      },
      choose: () => this.showActions(),
      run: (node) => this.insert(node),
      drag: (node, data) => {
        data.setData("text/plain", codeFor(this.profile, node));
        data.setData(DRAGGED, node.key);
        data.effectAllowed = "copy";
      },
    });
    this.empty = make("div", {className: "sacnb-empty", hidden: true});
    this.insertButton = button("Insert code", "Insert Python for what is chosen into the active cell", () => this.insert(this.tree.chosen), "sacnb-primary");
    this.refreshButton = button("Refresh", "Download the chosen model into the cache", this.refresh);
    this.cancelButton = button("Cancel", "Stop the refresh", this.cancel);
    this.progress = make("progress", {hidden: true, max: 1}, {"aria-label": "Progress of the refresh"});
    this.status = make("div", {className: "sacnb-status"}, {role: "status"});
    this.problem = make("div", {className: "sacnb-problem", hidden: true}, {role: "alert"});
    this.element = make(
      "div",
      {className: "sacnb-panel"},
      {},
      make("h2", {textContent: "SAP Analytics Cloud", className: "sacnb-title"}),
      make("div", {className: "sacnb-bar"}, {}, this.select),
      make("div", {className: "sacnb-bar"}, {}, this.token, this.renew),
      make("div", {className: "sacnb-bar"}, {}, this.search, this.reload),
      this.problem,
      make("div", {className: "sacnb-scroll"}, {}, this.tree.element, this.empty),
      make("div", {className: "sacnb-foot"}, {}, this.status, this.progress, make("div", {className: "sacnb-bar"}, {}, this.insertButton, this.refreshButton, this.cancelButton)),
    );
    this.say("idle", "Loading the tenants");
    this.showActions();
  }

  // -- the server -----------------------------------------------------------------------------------------------------

  async ask(method, path, {body, ...query} = {}) {
    const {ServerConnection} = this.given.services;
    const settings = this.app.serviceManager.serverSettings;
    const given = Object.entries(query).filter(([, value]) => value);
    const url = this.given.coreutils.URLExt.join(settings.baseUrl, "sacnb", path) + (given.length ? `?${new URLSearchParams(given)}` : "");
    let answer;
    try {
      answer = await ServerConnection.makeRequest(url, {method, ...(body ? {body: JSON.stringify(body)} : {})}, settings);
    } catch {
      throw new Refused({message: "The Jupyter server does not answer.", hint: "Is it still running?"});
    }
    const found = await answer.json().catch(() => ({}));
    if (answer.ok) return found;
    if (found.error) throw new Refused(found.error);
    if (answer.status === 404) {
      throw new Refused({message: "The server part of sacnb is not running.", hint: "Run: jupyter server extension enable sacnb.lab, and start Jupyter again."});
    }
    throw new Refused({message: `The Jupyter server answered ${answer.status}.`, hint: "Load the page again, which may ask you to log in."});
  }

  /** Run work and show its error; an answer that comes after another tenant was chosen is dropped. */
  async attempt(work) {
    const profile = this.profile;
    try {
      return await work();
    } catch (error) {
      if (profile === this.profile) this.fail(error);
      return null;
    }
  }

  async start() {
    const found = await this.attempt(() => this.ask("GET", "status"));
    if (!found) return;
    this.tenants = found.tenants;
    const name = (one) => (one.profile && one.profile !== one.tenant ? `${one.profile} (${one.tenant})` : one.tenant || "settings of this server");
    this.select.replaceChildren(...this.tenants.map((one) => make("option", {value: one.profile, textContent: name(one)})));
    if (!this.tenants.length) {
      this.say("idle", "No tenant yet");
      this.show(this.empty, "Name a tenant: run sacnb init in a terminal, then press the round arrow.");
      return;
    }
    const running = found.jobs.find((job) => job.state === "running");
    await this.use(running ? running.profile : this.tenants[0].profile);
    if (running) this.follow(running);
  }

  async use(profile) {
    this.profile = profile;
    this.select.value = profile;
    for (const kept of [this.models, this.children, this.members, this.open, this.busy]) kept.clear();
    this.found = null;
    this.search.value = "";
    this.showToken(null);
    await this.load();
  }

  async load({fresh = false} = {}) {
    if (this.profile === null) {
      await this.start();
      return;
    }
    const profile = this.profile;
    this.clearProblem();
    if (fresh) {
      for (const kept of [this.children, this.members, this.open]) kept.clear();
    }
    this.say("busy", "Loading the models");
    const found = await this.attempt(() => this.ask("GET", "models", {profile, fresh: fresh ? "1" : ""}));
    if (profile !== this.profile) return;
    this.models = new Map((found ? found.models : []).map((one) => [one.id, one]));
    this.tree.render();
    if (found) this.say("idle", this.models.size ? `${count(found.total, "model")}; choose one` : "SAC offers no model to this client");
    this.showActions();
    await this.look();
    if (this.search.value.trim()) await this.find();
  }

  /** Show the state of the token, which other users of the server change too. */
  async look() {
    const profile = this.profile;
    const found = await this.ask("GET", "status").catch(() => null);
    const tenant = found && found.tenants.find((one) => one.profile === profile);
    if (tenant && profile === this.profile) this.showToken(tenant.token);
  }

  async find() {
    const [profile, wanted, asked] = [this.profile, this.search.value.trim(), ++this.asked];
    if (profile === null) return;
    const dimensions = [...this.members.keys()].filter((key) => this.open.has(key));
    await this.attempt(async () => {
      const [listed, ...lists] = await Promise.all([
        this.ask("GET", "models", {profile, q: wanted}),
        ...dimensions.map((key) => this.readMembers(profile, key, wanted)),
      ]);
      if (asked !== this.asked || profile !== this.profile) return;
      this.found = wanted ? new Set(listed.models.map((one) => one.id)) : null;
      for (const one of listed.models) this.models.set(one.id, one);
      dimensions.forEach((key, number) => this.members.set(key, lists[number]));
      this.tree.render();
      const shown = this.nodes().filter((node) => node.kind === "model").length;
      this.show(this.empty, shown ? "" : `Nothing has “${wanted}”.`);
      if (!this.job) this.say("idle", wanted ? `${count(shown, "model")} found` : `${count(listed.total, "model")}; choose one`);
    });
  }

  readMembers(profile, key, q = "") {
    const [model, dimension] = key.split("\n");
    return this.ask("GET", `models/${encodeURIComponent(model)}`, {profile, dimension, q});
  }

  // -- the tree -------------------------------------------------------------------------------------------------------

  nodes() {
    const wanted = this.search.value.trim().toLowerCase();
    const isHit = (...texts) => texts.some((one) => (one || "").toLowerCase().includes(wanted));
    const nodes = [];
    for (const model of this.models.values()) {
      const isOpen = this.open.has(model.id);
      const isFound = !this.found || this.found.has(model.id);
      const below = isOpen ? this.below(model, isFound ? null : isHit) : [];
      if (!isFound && !below.length) continue;
      const note = model.description || (model.name !== model.id ? model.name : "");
      nodes.push({
        key: model.id, parent: "", level: 1, kind: "model", model: model.id, label: model.id, note, isExpandable: true, isOpen,
        age: cachedText(model.cached), isBusy: this.busy.has(model.id),
      }, ...below);
    }
    return nodes;
  }

  below(model, isHit) {
    const schema = this.children.get(model.id);
    const nodes = [];
    for (const one of schema ? schema.dimensions : []) {
      const key = `${model.id}\n${one.name}`;
      const isOpen = this.open.has(key) && this.members.has(key);
      const members = isOpen ? this.membersOf(model.id, key) : [];
      if (isHit && !isHit(one.name, one.label) && !members.length) continue;
      nodes.push({
        key, parent: model.id, level: 2, kind: "dimension", sign: one.is_date ? "date" : "dimension", model: model.id,
        name: one.name, label: one.name, note: one.label !== one.name ? one.label : "", isExpandable: true, isOpen,
        isBusy: this.busy.has(key),
      }, ...members);
    }
    for (const one of schema ? schema.measures : []) {
      if (isHit && !isHit(one.name, one.label)) continue;
      nodes.push({
        key: `${model.id}\n\n${one.name}`, parent: model.id, level: 2, kind: "measure", model: model.id, name: one.name,
        label: one.name, note: one.label && one.label !== one.name ? one.label : "measure",
      });
    }
    return nodes;
  }

  membersOf(model, key) {
    const found = this.members.get(key);
    const parents = [key];
    const nodes = found.members.map((one) => {
      const own = `${key}\n${one.id}`;
      parents[one.level + 1] = own;
      return {
        key: own, parent: parents[one.level], level: 3 + one.level, kind: "member", model, dimension: found.dimension, name: one.id,
        isParent: one.is_parent, label: one.description || one.id, note: one.description && one.description !== one.id ? one.id : "",
      };
    });
    const more = found.matching - found.members.length;
    if (more > 0) {
      nodes.push({key: `${key}\n\n`, parent: key, level: 3, kind: "more", model, dimension: found.dimension, label: `${count(more, "more member")}: search for them`});
    }
    return nodes;
  }

  async openNode(node) {
    const profile = this.profile;
    this.open.add(node.key);
    const kept = node.kind === "model" ? this.children : this.members;
    if (!kept.has(node.key)) {
      this.busy.add(node.key);
      this.tree.render();
      const found = await this.attempt(() =>
        node.kind === "model"
          ? this.ask("GET", `models/${encodeURIComponent(node.model)}`, {profile})
          : this.readMembers(profile, node.key),
      );
      if (profile !== this.profile) return;
      this.busy.delete(node.key);
      if (found) {
        this.clearProblem();
        kept.set(node.key, found);
      } else {
        this.open.delete(node.key);
      }
    }
    this.tree.render();
  }

  // -- actions --------------------------------------------------------------------------------------------------------

  insert(node) {
    if (!node || node.kind === "more") {
      this.say("idle", "Choose a model, a dimension, a measure or a member first.");
      return;
    }
    this.say("idle", insertCode(codeFor(this.profile, node), this.given.tracker, this.given.notebook.NotebookActions));
  }

  async renewToken() {
    if (this.profile === null) return;
    const profile = this.profile;
    this.clearProblem();
    this.showToken({state: "busy"});
    const found = await this.attempt(() => this.ask("POST", "token/ensure", {body: {profile, force: true}}));
    if (profile !== this.profile) return;
    if (found) this.showToken(found.token);
    else await this.look();
  }

  async refresh() {
    const node = this.tree.chosen;
    if (!node || this.job) {
      this.say("idle", this.job ? "A refresh is running." : "Choose a model first.");
      return;
    }
    this.clearProblem();
    this.say("busy", `${node.model}: refreshing`);
    const job = await this.attempt(() => this.ask("POST", "refresh", {body: {profile: this.profile, model: node.model}}));
    if (job) this.follow(job);
  }

  async cancel() {
    if (!this.job) return;
    this.say("busy", `${this.job.model}: cancelling`);
    await this.attempt(() => this.ask("DELETE", `jobs/${this.job.id}`));
  }

  async follow(job) {
    this.job = job;
    this.showActions();
    while (this.job.state === "running") {
      this.showJob();
      await new Promise((resolve) => setTimeout(resolve, JOB_EVERY_MS));
      const found = await this.attempt(() => this.ask("GET", `jobs/${job.id}`));
      if (!found) break;
      this.job = found;
    }
    const ended = this.job;
    this.job = null;
    this.progress.hidden = true;
    this.showActions();
    this.showEnd(ended);
    await this.look();
  }

  showJob() {
    const {rows, expected_rows: expected, elapsed_s: seconds, model, is_cancelling: isCancelling} = this.job;
    this.progress.hidden = false;
    if (expected) this.progress.value = Math.min(1, rows / expected);
    else this.progress.removeAttribute("value");
    const rate = seconds > 0.5 && rows ? rows / seconds : 0;
    const left = rate && expected > rows ? `, about ${Math.max(1, Math.round((expected - rows) / rate))} s left` : "";
    const far = rows ? `${rows.toLocaleString("en")}${expected ? ` of ${expected.toLocaleString("en")}` : ""} rows${left}` : "refreshing";
    this.say("busy", `${model}: ${isCancelling ? "cancelling" : far}`);
  }

  showEnd(job) {
    if (job.state === "running") return; // the server does not answer any more, which is shown
    const kept = this.models.get(job.model);
    if (job.cached && kept && job.profile === this.profile) kept.cached = job.cached;
    this.tree.render();
    if (job.state === "done") {
      const old = Boolean(job.warning);
      const text = `${count(job.cached.rows, "row")}, ${old ? `${ageOf(job.cached.refreshed_at)} old` : clock(job.cached.refreshed_at)}`;
      this.say(old ? "old" : "good", `${job.model}: ${old ? "SAC did not deliver; cached are" : "fresh,"} ${text}`);
      if (old) this.showProblem(new Refused({message: job.warning}));
    } else if (job.state === "cancelled") {
      this.say("stopped", `${job.model}: cancelled; what is cached stays`);
    } else {
      this.fail(new Refused(job.error), `${job.model}: failed`);
    }
  }

  // -- what is shown --------------------------------------------------------------------------------------------------

  say(state, text) {
    this.status.className = `sacnb-status sacnb-${state}`;
    this.status.replaceChildren(sign(SIGNS[state], "sacnb-sign"), make("span", {textContent: text}));
  }

  show(element, text) {
    element.textContent = text;
    element.hidden = !text;
  }

  showToken(token) {
    const texts = {
      busy: ["busy", "Renewing the token"],
      valid: () => ["good", `Token valid until ${clock(token.expires_at)}`],
      expired: () => ["old", `Token expired at ${clock(token.expires_at)}`],
      endless: ["good", "Pasted token; it does not say when it expires"],
      absent: ["idle", "No token yet"],
    };
    this.tokenState = token;
    let state = token ? token.state : "absent";
    if (state === "valid" && Date.parse(token.expires_at) <= Date.now()) state = "expired";
    const found = texts[state];
    const [drawn, text] = typeof found === "function" ? found() : found;
    this.token.replaceChildren(sign(SIGNS[drawn], "sacnb-sign"), make("span", {textContent: text}));
  }

  showActions() {
    const node = this.tree.chosen;
    const able = (button, isAble) => button.setAttribute("aria-disabled", String(!isAble));
    able(this.insertButton, node && node.kind !== "more");
    able(this.refreshButton, node && !this.job);
    able(this.cancelButton, Boolean(this.job));
    this.refreshButton.title = node ? `Download ${node.model} into the cache` : "Choose a model to download into the cache";
  }

  fail(error, text = "failed") {
    this.say("failed", text);
    this.showProblem(error);
  }

  showProblem(error) {
    const details = error.details && error.details.length ? make("details", {}, {}, make("summary", {textContent: "Details"}), make("div", {textContent: error.details.join("\n")})) : null;
    const parts = [make("p", {}, {}, make("strong", {textContent: error.message}))];
    if (error.hint) parts.push(make("p", {textContent: error.hint}));
    this.problem.replaceChildren(...parts, ...(details ? [details] : []));
    this.problem.hidden = false;
  }

  clearProblem() {
    this.problem.hidden = true;
    this.problem.replaceChildren();
  }

  /** Follow the time: ages, and the end of the token. */
  tick() {
    if (this.profile === null) return;
    this.showToken(this.tokenState);
    this.tree.render();
  }
}

/** Add the panel to the side bar, and a command that shows it. */
export function activate(app, given) {
  document.head.append(make("link", {rel: "stylesheet", href: new URL("panel.css", given.place).href}));
  const panel = new Panel(app, given);
  const {Widget} = given.widgets;
  class Side extends Widget {
    onAfterShow(message) {
      super.onAfterShow(message);
      if (!panel.isStarted) {
        panel.isStarted = true; // nothing is asked before somebody looks
        panel.start();
      } else if (panel.profile !== null) {
        panel.look();
      }
    }

    onActivateRequest() {
      panel.search.focus();
    }
  }
  const side = new Side({node: panel.element});
  side.id = "sacnb-panel";
  side.title.caption = "SAP Analytics Cloud";
  side.title.iconClass = "sacnb-icon";
  app.shell.add(side, "left", {rank: 600, type: "SAC"});
  setInterval(() => side.isVisible && panel.tick(), LOOK_EVERY_MS);
  acceptDrops(DRAGGED, given.tracker, given.notebook.NotebookActions);
  app.commands.addCommand("sacnb:show", {label: "Show SAP Analytics Cloud", execute: () => app.shell.activateById(side.id)});
  if (given.palette) given.palette.addItem({command: "sacnb:show", category: "SAP Analytics Cloud"});
  if (given.restorer) given.restorer.add(side, side.id);
}
