// A tree for mouse and keyboard: one item is in the order of Tab, arrows move, as the ARIA practices have it.

const SIGNS = {
  model: '<path d="M2.5 4.2 8 1.5l5.5 2.7v7.6L8 14.5l-5.5-2.7zM2.5 4.2 8 7l5.5-2.8M8 7v7.5"/>',
  dimension: '<path d="M8 2v4M3.5 10V8h9v2M2 10h3v3.5H2zM11 10h3v3.5h-3zM6.5 2h3v3h-3z"/>',
  date: '<path d="M2.5 3.5h11v10h-11zM2.5 6.5h11M5.5 1.5v3M10.5 1.5v3"/>',
  measure: '<path d="M12 3.5V2.5H4L8.5 8 4 13.5h8v-1"/>',
  member: '<circle cx="8" cy="8" r="2"/>',
};

/** Make an element with properties, attributes and parts. */
export function make(tag, properties = {}, attributes = {}, ...parts) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...parts.filter((part) => part !== null && part !== ""));
  return element;
}

/** Make a drawn sign that screen readers skip. */
export function sign(drawing, className) {
  const holder = document.createElement("span");
  holder.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true" class="${className}">${drawing}</svg>`;
  return holder.firstChild;
}

export class Tree {
  /** `nodes()` returns the visible nodes, from top to bottom; `on` has what to do: open, close, choose, run, drag. */
  constructor(label, nodes, on) {
    this.nodes = nodes;
    this.on = on;
    this.current = null;
    this.element = make("div", {className: "sacnb-tree"}, {role: "tree", "aria-label": label});
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("click", (event) => this.onClick(event));
    this.element.addEventListener("dblclick", () => this.chosen && this.on.run(this.chosen));
    this.element.addEventListener("dragstart", (event) => this.onDrag(event));
  }

  /** The node that is chosen, if it is still there. */
  get chosen() {
    return this.nodes().find((node) => node.key === this.current) || null;
  }

  /** Show the nodes anew; the focus stays on its node, or goes to what is left above it. */
  render() {
    const hadFocus = this.element.contains(document.activeElement);
    const nodes = this.nodes();
    if (!nodes.some((node) => node.key === this.current)) {
      const above = nodes.filter((node) => this.current !== null && this.current.startsWith(`${node.key}\n`));
      this.current = above.length ? above[above.length - 1].key : null;
    }
    const stop = this.current === null && nodes.length ? nodes[0].key : this.current;
    const siblings = new Map();
    for (const node of nodes) siblings.set(node.parent, (siblings.get(node.parent) || 0) + 1);
    const seen = new Map();
    this.element.replaceChildren(
      ...nodes.map((node) => {
        seen.set(node.parent, (seen.get(node.parent) || 0) + 1);
        return this.row(node, seen.get(node.parent), siblings.get(node.parent), node.key === stop);
      }),
    );
    // A tree without items would be announced as broken.
    this.element.hidden = !nodes.length;
    if (hadFocus) this.focus();
  }

  row(node, position, size, isStop) {
    const arrow = make("span", {className: "sacnb-arrow"}, {"aria-hidden": "true"});
    if (node.isExpandable) arrow.append(sign('<path d="M6 3.5 10.5 8 6 12.5"/>', "sacnb-line"));
    const texts = make("span", {className: "sacnb-texts"}, {}, make("span", {className: "sacnb-name", textContent: node.label}));
    if (node.note) texts.append(" ", make("span", {className: "sacnb-note", textContent: node.note}));
    if (node.age) texts.append(" ", make("span", {className: "sacnb-note sacnb-age", textContent: node.age}));
    const row = make(
      "div",
      {title: node.note || "", className: `sacnb-item sacnb-${node.kind}`, tabIndex: isStop ? 0 : -1, draggable: node.kind !== "more"},
      {
        role: "treeitem",
        "aria-level": node.level,
        "aria-posinset": position,
        "aria-setsize": size,
        "aria-selected": node.key === this.current,
        "aria-expanded": node.isExpandable ? Boolean(node.isOpen) : null,
        "aria-busy": node.isBusy ? "true" : null,
      },
      arrow,
      node.kind === "more" ? "" : sign(SIGNS[node.sign || node.kind], "sacnb-line"),
      texts,
    );
    row.style.paddingLeft = `${4 + (node.level - 1) * 14}px`;
    row.dataset.key = node.key;
    return row;
  }

  focus() {
    const row = this.element.querySelector('[tabindex="0"]');
    if (row) row.focus({preventScroll: false});
  }

  choose(node) {
    if (!node) return;
    this.current = node.key;
    this.render();
    this.focus();
    this.on.choose(node);
  }

  toggle(node) {
    if (node.isExpandable) (node.isOpen ? this.on.close : this.on.open)(node);
  }

  nodeOf(target) {
    const row = target instanceof Element ? target.closest(".sacnb-item") : null;
    return row && this.nodes().find((node) => node.key === row.dataset.key);
  }

  onClick(event) {
    const node = this.nodeOf(event.target);
    if (!node) return;
    const isArrow = event.target instanceof Element && event.target.closest(".sacnb-arrow");
    this.choose(node);
    if (isArrow || !node.isOpen) this.toggle(node);
  }

  onDrag(event) {
    const node = this.nodeOf(event.target);
    if (node) this.on.drag(node, event.dataTransfer);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const nodes = this.nodes();
    const at = Math.max(0, nodes.findIndex((node) => node.key === this.current));
    const node = nodes[at];
    const isFirst = this.current === null;
    const actions = {
      ArrowDown: () => this.choose(isFirst ? node : nodes[at + 1]),
      ArrowUp: () => this.choose(nodes[at - 1]),
      Home: () => this.choose(nodes[0]),
      End: () => this.choose(nodes[nodes.length - 1]),
      ArrowRight: () => {
        if (node.isExpandable && !node.isOpen) this.toggle(node);
        else if (nodes[at + 1] && nodes[at + 1].parent === node.key) this.choose(nodes[at + 1]);
      },
      ArrowLeft: () => {
        if (node.isExpandable && node.isOpen) this.toggle(node);
        else this.choose(nodes.find((one) => one.key === node.parent));
      },
      Enter: () => this.on.run(node),
      " ": () => {
        this.choose(node);
        this.toggle(node);
      },
    };
    const action = actions[event.key] || this.letter(event.key, nodes, at);
    if (!action || !node) return;
    event.preventDefault();
    event.stopPropagation();
    if (isFirst && !["ArrowDown", "Home", "End"].includes(event.key)) this.current = node.key;
    action();
  }

  letter(key, nodes, at) {
    if (key.length !== 1 || key === " ") return null;
    const after = [...nodes.slice(at + 1), ...nodes.slice(0, at + 1)];
    const found = after.find((node) => node.label.toLowerCase().startsWith(key.toLowerCase()));
    return found ? () => this.choose(found) : null;
  }
}
