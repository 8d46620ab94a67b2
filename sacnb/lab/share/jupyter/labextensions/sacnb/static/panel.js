// The panel in the side bar: tenants and their tokens, the tree of models, and what is done with a model.

import {acceptDrops, codeFor, insertCode} from "./code.js";
import {Jobs} from "./jobs.js";
import {Lists} from "./lists.js";
import {ask, Refused} from "./server.js";
import {make, sign, Tree} from "./tree.js";
import {ageOf, clock, count, progressText, SIGNS, tokenText} from "./words.js";

const DRAGGED = "application/x-sacnb";
const LOOK_EVERY_MS = 30_000;
class Panel {
  constructor(app, given) {
    this.app = app;
    this.given = given;
    this.profile = null;
    this.tenants = [];
    this.lists = new Lists();
    this.asked = 0;
    this.jobs = new Jobs((...request) => this.ask(...request), {
      show: (job, error) => job.profile === this.profile && this.showJob(job, error),
      end: (job) => job.profile === this.profile && this.showEnded(),
    });
    this.build();
  }

  /** The refresh of the tenant that is shown, if one is running. */
  get job() {
    return this.jobs.of(this.profile);
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
    this.tree = new Tree("Models", () => this.lists.nodes(), {
      open: (node) => this.openNode(node),
      close: (node) => {
        this.lists.open.delete(node.key);
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

  ask(...request) {
    return ask(this.app, this.given, ...request);
  }

  /** Run work and show its error, after what failed; an answer that comes after another tenant was chosen is dropped. */
  async attempt(what, work) {
    const profile = this.profile;
    try {
      return await work();
    } catch (error) {
      if (profile === this.profile) this.fail(error, what);
      return null;
    }
  }

  async start() {
    const found = await this.attempt("The tenants were not loaded", () => this.ask("GET", "status"));
    if (!found) return;
    this.tenants = found.tenants;
    const name = (one) => (one.profile && one.profile !== one.tenant ? `${one.profile} (${one.tenant})` : one.tenant || "settings of this server");
    this.select.replaceChildren(...this.tenants.map((one) => make("option", {value: one.profile, textContent: name(one)})));
    if (!this.tenants.length) {
      this.say("idle", "No tenant yet");
      this.show(this.empty, "Name a tenant: run sacnb init --profile NAME in a terminal, then press the round arrow. To try the panel without one, install sacnb[sandbox].");
      return;
    }
    this.clearProblem();
    this.show(this.empty, "");
    const running = found.jobs.find((job) => job.state === "running");
    this.jobs.adopt(found.jobs);
    await this.use(running ? running.profile : this.tenants[0].profile);
  }

  async use(profile) {
    this.profile = profile;
    this.select.value = profile;
    this.select.title = this.select.selectedOptions[0]?.textContent ?? "";
    this.lists = new Lists();
    this.search.value = "";
    this.showToken(null);
    this.progress.hidden = true;
    this.isAway = false;
    await this.load();
  }

  async load({fresh = false} = {}) {
    if (this.profile === null) {
      await this.start();
      return;
    }
    const profile = this.profile;
    this.clearProblem();
    this.show(this.empty, "");
    this.say("busy", "Loading the models");
    const found = await this.attempt("The models were not loaded", () => this.ask("GET", "models", {profile, fresh: fresh ? "1" : ""}));
    if (profile !== this.profile) return;
    if (found) {
      if (fresh) this.lists = new Lists();
      this.lists.models = new Map(found.models.map((one) => [one.id, one]));
    }
    this.tree.render();
    if (found) {
      const none = !this.lists.models.size;
      this.say("idle", none ? "No models" : `${count(found.total, "model")}; choose one`);
      this.show(this.empty, none ? "SAC offers no model to this client: models with a live connection are not exported. Ask your administrator whether it has the access “Data Export Service”." : "");
    }
    if (found) this.showJobs();
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
    if (found) this.jobs.adopt(found.jobs);
  }

  async find() {
    const [profile, wanted, asked] = [this.profile, this.search.value.trim(), ++this.asked];
    if (profile === null) return;
    const dimensions = this.lists.openDimensions;
    await this.attempt("The search failed", async () => {
      const [listed, ...lists] = await Promise.all([
        this.ask("GET", "models", {profile, q: wanted}),
        ...dimensions.map((key) => this.readMembers(profile, key, wanted)),
      ]);
      if (asked !== this.asked || profile !== this.profile) return;
      this.lists.wanted = wanted;
      this.lists.found = wanted ? new Set(listed.models.map((one) => one.id)) : null;
      for (const one of listed.models) this.lists.models.set(one.id, one);
      dimensions.forEach((key, number) => this.lists.members.set(key, lists[number]));
      this.tree.render();
      const shown = this.lists.nodes().filter((node) => node.kind === "model").length;
      this.show(this.empty, shown || !wanted ? "" : `Nothing has “${wanted}”. Members are found in the dimensions that are open.`);
      if (!this.job) this.say("idle", wanted ? `${count(shown, "model")} found` : `${count(listed.total, "model")}; choose one`);
    });
  }

  readMembers(profile, key, q = "") {
    const [model, dimension] = key.split("\n");
    return this.ask("GET", `models/${encodeURIComponent(model)}`, {profile, dimension, q});
  }

  // -- the tree -------------------------------------------------------------------------------------------------------

  async openNode(node) {
    const profile = this.profile;
    this.lists.open.add(node.key);
    const kept = node.kind === "model" ? this.lists.children : this.lists.members;
    if (!kept.has(node.key)) {
      this.lists.busy.add(node.key);
      this.tree.render();
      const found = await this.attempt(`${node.label}: not loaded`, () =>
        node.kind === "model"
          ? this.ask("GET", `models/${encodeURIComponent(node.model)}`, {profile})
          : this.readMembers(profile, node.key),
      );
      if (profile !== this.profile) return;
      this.lists.busy.delete(node.key);
      if (found) {
        this.clearProblem();
        kept.set(node.key, found);
      } else {
        this.lists.open.delete(node.key);
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
    const found = await this.attempt("The token was not renewed", () => this.ask("POST", "token/ensure", {body: {profile, force: true}}));
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
    const job = await this.attempt(`${node.model}: not refreshed`, () => this.ask("POST", "refresh", {body: {profile: this.profile, model: node.model}}));
    if (job) this.jobs.follow(job);
  }

  async cancel() {
    if (!this.job) return;
    this.say("busy", `${this.job.model}: cancelling`);
    await this.attempt("Not cancelled", () => this.ask("DELETE", `jobs/${this.job.id}`));
  }

  showEnded() {
    if (this.isAway) this.clearProblem();
    this.isAway = false;
    this.showJobs();
    this.look();
  }

  /** Show the refresh of this tenant: how far it is, or how it ended. */
  showJobs() {
    const [running, ended] = [this.job, this.jobs.takeEnded(this.profile)];
    this.progress.hidden = !running;
    if (running) this.showJob(running, null);
    else if (ended) this.showEnd(ended);
    this.showActions();
  }

  showJob(job, error) {
    const {rows, expected_rows: expected, model, is_cancelling: isCancelling} = job;
    this.progress.hidden = false;
    if (expected) this.progress.value = Math.min(1, rows / expected);
    else this.progress.removeAttribute("value");
    this.showActions();
    if (this.isAway && !error) this.clearProblem();
    this.isAway = Boolean(error);
    if (error) this.fail(error, `${model}: waiting for the Jupyter server`);
    else this.say("busy", `${model}: ${isCancelling ? "cancelling" : progressText(job)}`);
  }

  showEnd(job) {
    const kept = this.lists.models.get(job.model);
    if (job.cached && kept) kept.cached = job.cached;
    this.tree.render();
    if (job.state === "done") {
      const old = Boolean(job.warning);
      const text = `${count(job.cached.rows, "row")}, ${old ? `${ageOf(job.cached.refreshed_at)} old` : clock(job.cached.refreshed_at)}`;
      this.say(old ? "old" : "good", `${job.model}: ${old ? "SAC did not deliver; cached are" : "fresh,"} ${text}`);
      if (old) this.showProblem(new Refused({message: job.warning}));
    } else if (job.state === "cancelled") {
      this.say("stopped", `${job.model}: cancelled; what is cached stays`);
    } else {
      this.fail(new Refused(job.error), `${job.model}: not refreshed; what is cached stays`);
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
    this.tokenState = token;
    const [drawn, text] = tokenText(token);
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

  fail(error, text) {
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
