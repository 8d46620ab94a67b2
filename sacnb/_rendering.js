// Pages, sorts and searches a table of sacnb. The rows are in the JSON beside the table, so neither kernel nor network
// is needed. Without scripts the first rows stay as they are.
(() => {
  const place = document.currentScript ? document.currentScript.getRootNode() : document;
  for (const box of place.querySelectorAll("div[data-sacnb='rows']")) {
    const store = box.querySelector("script[type='application/json']");
    const table = box.querySelector("table");
    if (!store || !table) continue;
    box.dataset.sacnb = "ready";
    const {rows, total, numeric, page: size} = JSON.parse(store.textContent);
    const body = table.tBodies[0];
    const template = [...body.rows[0].cells].map((cell) => cell.cloneNode(false));
    const rowStyle = body.rows[0].getAttribute("style");
    const isPart = total > rows.length;
    let shown = rows, sorted = -1, falling = false, first = 0;

    const make = (tag, parent, properties, style) => {
      const element = Object.assign(document.createElement(tag), properties);
      element.style.cssText = style || "";
      parent.append(element);
      return element;
    };
    const plain = "font:inherit;color:inherit;background:none;border:1px solid rgba(128,128,128,0.5);border-radius:3px;padding:2px 8px;";
    const bar = document.createElement("div");
    bar.style.cssText = "display:flex;flex-wrap:wrap;align-items:center;gap:8px;padding:4px 12px;font-size:13px";
    table.before(bar);
    const search = make("input", bar, {type: "search", placeholder: "Search"}, plain + "width:16em");
    search.setAttribute("aria-label", "Search in the rows");
    const back = make("button", bar, {type: "button", textContent: "\u2039"}, plain + "cursor:pointer");
    back.setAttribute("aria-label", "Previous rows");
    const next = make("button", bar, {type: "button", textContent: "\u203a"}, plain + "cursor:pointer");
    next.setAttribute("aria-label", "Next rows");
    const status = make("span", bar, {}, "opacity:0.85");
    status.setAttribute("role", "status");

    const number = (text) => Number(text.replaceAll(",", "").replace("inf", "Infinity"));
    const compare = (one, other) => {
      const [a, b] = [one[sorted], other[sorted]];
      if (a === b) return 0;
      if (a === "null" || b === "null") return a === "null" ? 1 : -1; // missing values stay at the end
      if (!numeric.includes(sorted)) return (a < b ? -1 : 1) * (falling ? -1 : 1);
      const [x, y] = [number(a), number(b)];
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return (x - y) * (falling ? -1 : 1) || 0;
    };
    const count = (many) => many.toLocaleString("en-US");
    const draw = () => {
      body.replaceChildren(...shown.slice(first, first + size).map((cells) => {
        const line = document.createElement("tr");
        line.setAttribute("style", rowStyle);
        line.append(...cells.map((text, at) => {
          const cell = template[at].cloneNode(false);
          cell.textContent = text;
          cell.style.whiteSpace = text.length > 60 ? "normal" : "nowrap";
          return cell;
        }));
        return line;
      }));
      const last = Math.min(first + size, shown.length);
      const range = shown.length ? `${count(first + 1)}\u2013${count(last)} of ${count(shown.length)}` : "no rows";
      const found = shown.length === rows.length ? "" : " found";
      status.textContent = range + found
        + (isPart ? `: search and sort see the first ${count(rows.length)} of ${count(total)} rows` : "");
      back.disabled = first === 0;
      next.disabled = last >= shown.length;
      for (const button of [back, next]) button.style.opacity = button.disabled ? 0.4 : 1;
      heads.forEach(([head, mark], at) => {
        if (at === sorted) head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
        mark.textContent = at === sorted ? (falling ? " \u25be" : " \u25b4") : "";
      });
    };
    const choose = () => {
      const wanted = search.value.toLowerCase();
      shown = rows.filter((cells) => cells.some((text) => text.toLowerCase().includes(wanted)));
      if (sorted >= 0) shown.sort(compare);
      first = 0;
      draw();
    };
    const heads = [...table.tHead.rows[0].cells].map((head, at) => {
      const name = head.textContent;
      head.textContent = "";
      const button = make("button", head, {type: "button", textContent: name, title: "Sort"},
        "all:unset;cursor:pointer;font-weight:600");
      button.addEventListener("focus", () => { button.style.outline = "2px solid currentColor"; });
      button.addEventListener("blur", () => { button.style.outline = ""; });
      const mark = make("span", button, {}, "");
      mark.setAttribute("aria-hidden", "true");
      button.addEventListener("click", () => {
        falling = sorted === at && !falling;
        sorted = at;
        choose();
      });
      return [head, mark];
    });
    search.addEventListener("input", choose);
    search.addEventListener("keydown", (event) => event.stopPropagation()); // the notebook has keys of its own
    back.addEventListener("click", () => { first = Math.max(first - size, 0); draw(); });
    next.addEventListener("click", () => { first += size; draw(); });
    box.querySelectorAll("p[data-sacnb='rest']").forEach((rest) => rest.remove());
    draw();
  }
})();
