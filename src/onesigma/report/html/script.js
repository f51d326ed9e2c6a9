"use strict";
(() => {
  // Sort the layer table: a button in a heading sorts by its column, once more turns the order.
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.v ?? (cell.classList.contains("n") ? "" : cell.textContent);
    const number = value === "" ? NaN : Number(value);
    return Number.isNaN(number) ? value || cell.textContent : number;
  };
  const compare = (a, b) => {
    // Numbers before words: what was not measured goes to the end.
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  };
  for (const button of document.querySelectorAll("#layers th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const body = head.closest("table").tBodies[0];
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of head.parentNode.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const sign = rising ? 1 : -1;
      const rows = [...body.rows].map((row) => [key(row, head.cellIndex), row]);
      rows.sort(([a], [b]) => (typeof a === typeof b ? sign : 1) * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  }

  // Read the profile out: the pointer or the arrow keys pick a layer, the line below tells its numbers.
  for (const figure of document.querySelectorAll(".profile")) {
    const readout = figure.querySelector(".readout");
    const told = [...figure.querySelectorAll(".columns title")].map((title) => title.textContent);
    for (const picture of figure.querySelectorAll("svg")) {
      const columns = [...picture.querySelectorAll(".columns rect")];
      let at = -1;
      const pick = (index) => {
        columns[at]?.classList.remove("picked");
        at = Math.min(Math.max(index, 0), columns.length - 1);
        columns[at]?.classList.add("picked");
        readout.textContent = told[at] ?? "";
      };
      columns.forEach((column, index) => column.addEventListener("pointerenter", () => pick(index)));
      picture.addEventListener("keydown", (event) => {
        const step = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: columns.length - 1 }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        pick(step);
      });
    }
  }

  // Copy a fix.
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentNode.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        // A page opened from disk may not write to the clipboard: select the text instead.
        getSelection().selectAllChildren(code);
        button.textContent = "selected";
      }
      setTimeout(() => (button.textContent = "copy"), 1500);
    });
  }

  // Hand the embedded JSON out as a file.
  document.getElementById("download")?.addEventListener("click", () => {
    const text = document.getElementById("report").textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "report.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  // A link to a finding opens what it points to, and printing opens everything.
  const open = () => document.getElementById(decodeURIComponent(location.hash.slice(1)))?.focus({ preventScroll: true });
  addEventListener("hashchange", open);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
})();
