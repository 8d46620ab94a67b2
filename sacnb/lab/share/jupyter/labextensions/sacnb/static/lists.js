// What the tree shows: the models of a tenant, and what was read of those that are open.

import {cachedText, count} from "./words.js";

export class Lists {
  constructor() {
    this.models = new Map(); // by id, in SAC's order
    this.found = null; // the ids that the search found; null without a search
    this.wanted = "";
    this.children = new Map(); // of open models: what the server said of them
    this.members = new Map(); // of open dimensions
    this.open = new Set();
    this.busy = new Set();
  }

  /** The dimensions whose members are shown. */
  get openDimensions() {
    return [...this.members.keys()].filter((key) => this.open.has(key));
  }

  /** Return the visible nodes, from top to bottom. */
  nodes() {
    const wanted = this.wanted.toLowerCase();
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
}
