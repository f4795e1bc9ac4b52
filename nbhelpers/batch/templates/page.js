// What makes a page handier. Without scripts everything on it can still be read.
(() => {
  const make = (tag, words, settings) =>
    Object.assign(document.createElement(tag), { textContent: words, ...settings });
  const button = (words, click, settings) => {
    const made = make("button", words, { type: "button", ...settings });
    made.addEventListener("click", click);
    return made;
  };
  const all = (selector) => [...document.querySelectorAll(selector)];

  // The header: the pages before and after, and one button for all code.
  const bar = document.querySelector("header.bar");
  for (const [place, arrow] of [["before", "\u2190"], ["after", "\u2192"]]) {
    const link = document.querySelector(`nav.beside .${place} a`);
    if (!link) continue;
    const title = `${place === "before" ? "Previous" : "Next"} page: ${link.textContent}`;
    const short = make("a", arrow, { href: link.href, title, className: "arrow" });
    short.setAttribute("aria-label", title);
    bar.append(short);
  }
  const code = all("details.code");
  if (code.length) {
    bar.append(button("Show all code", (event) => {
      const open = event.target.textContent.startsWith("Show");
      code.forEach((one) => { one.open = open; });
      event.target.textContent = open ? "Hide all code" : "Show all code";
    }, { className: "code" }));
  }

  // The contents list is open beside the text and folded above it on a narrow screen.
  const contents = document.querySelector("nav.contents details");
  if (contents && window.matchMedia("(max-width: 68rem)").matches) contents.open = false;

  // A link into a fold opens it, and so does printing, where tables are concerned.
  const unfold = () => {
    const at = location.hash && document.getElementById(location.hash.slice(1));
    const fold = at && (at.closest("details") || at.parentElement.querySelector("details"));
    if (fold && at.matches("h2, dl div")) { fold.open = true; at.scrollIntoView(); }
  };
  window.addEventListener("hashchange", unfold);
  unfold();
  window.addEventListener("beforeprint", () => {
    all("details.table").forEach((fold) => { fold.open = true; });
  });

  // Tables: one row of headings, sorted by a click on one, long ones folded.
  const number = (row, column) => {
    const text = row.cells[column].textContent.trim().replace("\u2212", "-").replaceAll(",", "");
    return /^[-+]?\d/.test(text) ? parseFloat(text) : NaN;
  };
  const compare = (column, rows) => {
    const numeric = rows.some((row) => !Number.isNaN(number(row, column)));
    const value = (row) => numeric ? number(row, column) : row.cells[column].textContent.trim();
    return (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (Number.isNaN(a) || Number.isNaN(b)) return null; // stands last either way
      return numeric ? a - b : a.localeCompare(b);
    };
  };
  for (const table of all("table.dataframe")) {
    const [head, names] = table.tHead ? table.tHead.rows : [];
    if (!head) continue;
    if (names && [...names.cells].every((cell, i) => !cell.textContent || !head.cells[i].textContent)) {
      [...names.cells].forEach((cell, i) => { head.cells[i].textContent ||= cell.textContent; });
      names.remove();
    }
    const body = table.tBodies[0], came = [...body.rows];
    if (table.tHead.rows.length === 1 && came.length > 8 && !table.querySelector("[rowspan], [colspan]")) {
      [...head.cells].forEach((cell, column) => {
        const words = cell.textContent.trim();
        if (!words) return;
        cell.textContent = "";
        cell.append(button(words, () => {
          const next = { ascending: "descending", descending: null }[cell.ariaSort];
          const direction = next === undefined ? "ascending" : next;
          [...head.cells].forEach((one) => one.removeAttribute("aria-sort"));
          const order = compare(column, came), known = came.filter((row) => order(row, row) !== null);
          const rows = direction ? [...known.sort((a, b) =>
            direction === "ascending" ? order(a, b) : order(b, a)),
            ...came.filter((row) => order(row, row) === null)] : came;
          if (direction) cell.setAttribute("aria-sort", direction);
          body.append(...rows);
        }, { className: "sort", title: "Sort by this column" }));
      });
    }
    const shown = Number(table.dataset.rows);
    if (shown) {
      const words = [`Show all ${came.length} rows`, `Show ${shown} rows`];
      const more = button(words[0], () => {
        const short = table.classList.toggle("short");
        more.textContent = words[short ? 0 : 1];
        more.setAttribute("aria-expanded", String(!short));
      }, { className: "more" });
      more.setAttribute("aria-expanded", "false");
      table.classList.add("short");
      table.closest(".scroll").after(more);
    }
  }

  // Only what scrolls takes the focus.
  const boxes = all(".scroll, pre, .text > table");
  const check = () => boxes.forEach((box) => {
    if (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1) {
      box.tabIndex = 0;
      if (box.matches("pre")) {
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", box.closest(".highlight") ? "Code" : "Printed text");
      }
    } else {
      box.removeAttribute("tabindex");
    }
  });
  new ResizeObserver(check).observe(document.body);
  document.addEventListener("toggle", check, true);

  // Figures enlarge in a dialog.
  const dialog = document.createElement("dialog");
  dialog.className = "large";
  dialog.setAttribute("aria-label", "Enlarged figure");
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  for (const image of all("figure.picture img")) {
    const label = `Enlarge figure ${image.closest("figure").id.split("-")[1]}`;
    const open = button("", () => {
      const text = image.closest("figure").querySelector("figcaption").textContent;
      const box = make("div", "");
      box.tabIndex = 0;
      box.append(make("img", "", { src: image.src, alt: image.alt }));
      dialog.replaceChildren(button("Close", () => dialog.close()), box, make("p", text));
      dialog.showModal();
    }, { className: "zoom", title: label });
    open.setAttribute("aria-label", label);
    image.replaceWith(open);
    open.append(image);
  }

  // The first time that prose uses a word of the glossary, a dotted line leads to its meaning.
  const terms = new Map(all(".glossary dl > div").map((one) => [one.querySelector("dt").textContent, one]));
  const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const prose = [];
  while (walk.nextNode()) {
    const inside = walk.currentNode.parentElement;
    if (inside.closest(".text") && !inside.closest("h1, h2, h3, h4, code, pre, a, table, .run")) prose.push(walk.currentNode);
  }
  for (const [term, entry] of terms) {
    const pattern = new RegExp(`(?<![\\w-])${term.replace("%", "\\%")}s?(?![\\w-])`, term === term.toLowerCase() ? "i" : "");
    const at = prose.findIndex((node) => pattern.test(node.data));
    if (at < 0) { entry.hidden = true; continue; }
    const word = prose[at].splitText(prose[at].data.search(pattern));
    const rest = word.splitText(word.data.match(pattern)[0].length);
    const meaning = make("span", entry.querySelector("dd").textContent, { id: `${entry.id}-meaning`, popover: "auto", className: "meaning" });
    const opener = button(word.data, () => {}, { className: "term" });
    opener.setAttribute("popovertarget", meaning.id);
    word.replaceWith(opener, meaning);
    prose.splice(at + 1, 0, rest);
  }
  if (terms.size && [...terms.values()].every((entry) => entry.hidden)) document.querySelector(".glossary").hidden = true;
})();
