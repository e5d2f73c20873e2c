"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Leading number of a cell's text, scaled by its unit; NaN for words and dashes.
  const number = (text) => {
    const found = /^([+−-]?[\d,]*\.?\d+)(?::(\d\d))? ?(h|min|s|k|M|G)?/.exec(text);
    if (!found) return NaN;
    const units = { h: 3600, min: 60, k: 1e3, M: 1e6, G: 1e9 };
    const unit = units[found[3]] ?? 1;
    const value = Number(found[1].replaceAll(",", "").replace("−", "-"));
    return value * unit + Number(found[2] ?? 0) * (unit / 60);
  };

  const sort = (header) => {
    const table = header.closest("table");
    const column = header.cellIndex;
    const words = column === 0 || header.classList.contains("words"); // words begin with A, numbers with the largest
    const descending = header.ariaSort === "ascending" || (header.ariaSort === "none" && !words);
    for (const other of header.parentNode.cells) other.ariaSort = "none";
    header.ariaSort = descending ? "descending" : "ascending";
    const way = descending ? -1 : 1;
    for (const part of table.tBodies) { // unranked rows stay below the ranked ones
      const rows = all(":scope > tr.row", part).map((row) => {
        const text = row.cells[column].textContent.trim();
        const detail = row.nextElementSibling?.classList.contains("detail") ? row.nextElementSibling : null;
        return { row, detail, text, value: number(text) };
      });
      rows.sort((a, b) => {
        const gap = Number.isNaN(a.value) - Number.isNaN(b.value); // words and dashes come last in both directions
        if (gap) return gap;
        return way * (Number.isNaN(a.value) ? a.text.localeCompare(b.text) : a.value - b.value);
      });
      for (const { row, detail } of rows) part.append(row, ...(detail ? [detail] : []));
    }
  };

  const unfold = (button, open) => {
    button.ariaExpanded = String(open);
    document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
  };

  const filter = document.getElementById("filter");
  const dataset = document.getElementById("dataset");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, total = 0;
    for (const section of all(".setting")) {
      const title = section.querySelector("h2").textContent.toLowerCase();
      const wanted = !dataset.value || section.dataset.dataset === dataset.value;
      let rows = 0;
      all("table.board", section).forEach((table, k) => {
        for (const row of all(":scope > tbody > tr.row", table)) {
          const text = `${title} ${row.cells[0].textContent.toLowerCase()} ${row.dataset.family ?? ""}`;
          const visible = wanted && words.every((word) => text.includes(word));
          row.hidden = !visible;
          const button = row.querySelector(".unfold");
          if (button) document.getElementById(button.getAttribute("aria-controls")).hidden = !visible || button.ariaExpanded !== "true";
          if (k === 0) { rows += visible; total += 1; }
        }
      });
      for (const part of all("tr.part", section)) part.hidden = !all(":scope > tr.row", part.parentNode).some((row) => !row.hidden);
      section.hidden = rows === 0;
      document.querySelector(`[data-section="${section.id.slice(2)}"]`).hidden = rows === 0;
      shown += rows;
    }
    document.getElementById("nothing").hidden = shown > 0;
    document.getElementById("count").textContent = `${shown} of ${total} rows`;
  };

  // A table that is wider than its frame has a shadow and a hint until its last column is in view.
  const hint = (frame) => frame.classList.toggle("more", frame.scrollLeft + frame.clientWidth < frame.scrollWidth - 2);
  const resized = new ResizeObserver((entries) => entries.forEach((entry) => hint(entry.target)));
  for (const frame of all(".wide")) {
    frame.addEventListener("scroll", () => hint(frame), { passive: true });
    resized.observe(frame);
  }

  const theme = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.classList.contains("sort")) sort(button.closest("th"));
    if (button?.classList.contains("unfold")) unfold(button, button.ariaExpanded !== "true");
    if (button?.id === "theme") theme();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      filter.focus();
    }
  });
  document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", apply);
  dataset.addEventListener("change", apply);
  apply();
})();
