// Conveniences; every page works without them.
(() => {
  const root = document.documentElement;

  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  const copy = async (button) => {
    const source = button.dataset.copyFrom;
    const text = source ? document.getElementById(source).textContent : button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without https, browsers only offer the old clipboard API.
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "unseen";
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (button) copy(button);
    if (event.target.closest("[data-theme-switch]")) {
      root.dataset.theme = isDark() ? "light" : "dark";
      localStorage.setItem("waybill-theme", root.dataset.theme);
    }
    // A click elsewhere closes the menu.
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  const step = (by) => {
    const rows = [...document.querySelectorAll("a.row")];
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    rows[Math.max(0, Math.min(rows.length - 1, at + by))].focus();
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details.menu[open]")) {
        if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
        menu.open = false;
      }
    }
    if (event.target.closest("input, textarea, select")) return;
    if (event.key === "/") {
      event.preventDefault();
      document.querySelector(".find input[type=search]")?.focus();
    }
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
  });

  document.addEventListener("change", (event) => {
    // Changing a filter submits its form.
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });

  // Hidden pages do not refresh, and neither do pages on which details are open.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, requestConfig } = event.detail;
    const byItself = (elt.getAttribute("hx-trigger") || "").startsWith("every") && !requestConfig.triggeringEvent;
    if (byItself && (document.hidden || elt.querySelector("details[open]"))) event.preventDefault();
  });
  // Keep the focus on the same link when the page around it is replaced.
  let left = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const focused = document.activeElement;
    left = event.detail.target.contains(focused) ? focused.getAttribute("href") : null;
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (left && document.activeElement === document.body) {
      document.querySelector(`#live a[href="${CSS.escape(left)}"]`)?.focus({ preventScroll: true });
    }
  });
  document.addEventListener("htmx:sendError", () => {
    const notice = document.getElementById("notice");
    if (notice) {
      notice.textContent = "";
      const line = document.createElement("p");
      line.className = "said bad";
      line.textContent = "The server cannot be reached. What you see may be old.";
      notice.append(line);
    }
  });
})();
