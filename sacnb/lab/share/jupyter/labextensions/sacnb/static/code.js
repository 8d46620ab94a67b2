// Python for what is chosen in the tree, and its way into a notebook. A JSON text is a Python text too.

const text = (value) => JSON.stringify(value);

/** Return the call that connects; it names the profile, and never a secret. */
export function connectCode(profile) {
  if (!profile) return "sacnb.connect()";
  return profile === "sandbox" ? 'sacnb.connect("sandbox")' : `sacnb.connect(profile=${text(profile)})`;
}

/** Return the code for a node of the tree. */
export function codeFor(profile, node) {
  const rows = {
    model: () => ["# Cached rows that are younger than an hour, else those of SAC.", "result = model.refresh(max_age_s=3600)"],
    measure: () => [`result = model.facts(measures=[${text(node.name)}]).fetch()`],
    member: () => {
      const member = node.isParent ? `sacnb.under(${text(node.name)})` : text(node.name);
      return [`result = model.facts(where={${text(node.dimension)}: ${member}}).fetch()`];
    },
  }[node.kind];
  const last = rows ? [...rows(), "result.polars()"] : [`model.members(${text(node.name)})`];
  return ["import sacnb", "", `sac = ${connectCode(profile)}`, `model = sac.model(${text(node.model)})`, ...last].join("\n");
}

/** Insert code into the active cell of the notebook in front, or into a new one; return what was done, in words. */
export function insertCode(code, tracker, actions) {
  const panel = tracker && tracker.currentWidget;
  if (!panel) return "Open a notebook first, then insert the code.";
  let cell = panel.content.activeCell;
  if (!cell || cell.model.type !== "code") {
    actions.insertBelow(panel.content);
    cell = panel.content.activeCell;
  }
  const present = cell.model.sharedModel.getSource();
  if (present.trim() && cell.editor) cell.editor.replaceSelection(code);
  else cell.model.sharedModel.setSource(present.trim() ? `${present}\n${code}` : code);
  return "Code inserted into the active cell.";
}

/** Let what is dragged over a notebook be dropped beside its cells too; within a cell the editor takes the text itself. */
export function acceptDrops(kind, tracker, actions) {
  const notebook = (event) => {
    const panel = tracker && tracker.currentWidget;
    const target = event.target instanceof Element ? event.target : null;
    const isOurs = event.dataTransfer && [...event.dataTransfer.types].includes(kind);
    if (!isOurs || !panel || !target || !panel.content.node.contains(target) || target.closest(".cm-content")) return null;
    return panel.content;
  };
  document.addEventListener("dragover", (event) => {
    if (notebook(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    const content = notebook(event);
    if (!content) return;
    event.preventDefault();
    const below = content.widgets.findIndex((cell) => cell.node.contains(event.target));
    content.activeCellIndex = below < 0 ? content.widgets.length - 1 : below;
    actions.insertBelow(content);
    content.activeCell.model.sharedModel.setSource(event.dataTransfer.getData("text/plain"));
  });
}
