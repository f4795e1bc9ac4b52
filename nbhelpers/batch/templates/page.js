// One button folds and unfolds all code. Without scripts each cell still opens by itself.
(() => {
  const cells = document.querySelectorAll("details.code");
  const bar = document.querySelector("header.bar");
  if (cells.length && bar) {
    const button = document.createElement("button");
    const label = (open) => { button.textContent = open ? "Hide all code" : "Show all code"; };
    let open = false;
    label(open);
    button.type = "button";
    button.addEventListener("click", () => {
      open = !open;
      cells.forEach((cell) => { cell.open = open; });
      label(open);
    });
    bar.append(button);
  }
  // The contents list is open beside the text and folded above it on a narrow screen.
  const contents = document.querySelector("nav.contents details");
  if (contents && window.matchMedia("(max-width: 68rem)").matches) contents.open = false;
})();
