// SPDX-FileCopyrightText: The bulwark.node authors
// SPDX-License-Identifier: GPL-3.0-or-later
// Filters, copies and keeps the view in the address. Without it the page is whole.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const root = document.documentElement;
  const search = one("#search"), control = one("#control"), group = one("#group"), shown = one("#shown");
  const boxes = { severity: all("#severities input"), status: all("#statuses input") };
  const chosen = (name) => boxes[name].filter((box) => box.checked).map((box) => box.value);
  const label = (select) => select && select.value !== "" ? select.selectedOptions[0].text : "";
  const choose = (select, text) => {
    if (select) select.selectedIndex = Math.max(0, [...select.options].findIndex((option) => option.value !== "" && option.text === text));
  };

  // What filters look at is read from the page once, when somebody filters.
  let index = null;
  const read = () => {
    const names = all("#control option").map((option) => option.text);
    const numbers = new Map(all("#control option").map((option) => [option.text, option.value]));
    const rows = all(".map tbody tr");
    const byAnchor = new Map(rows.map((row) => [one("a", row).hash, row]));
    const severities = new Map(all("#controls .control").map((each) => [each.dataset.c, each.dataset.s]));
    const hosts = all("#hosts > .host").map((node) => ({
      node,
      row: byAnchor.get("#" + node.id),
      groups: node.dataset.g.split(" "),
      text: node.firstElementChild.textContent.toLowerCase(),
      lost: one(".findings", node) === null,
      findings: all(".finding", node).map((finding) => ({
        node: finding, control: finding.dataset.c, severity: finding.dataset.s, status: finding.dataset.t, text: null,
      })),
      quiet: all("[data-quiet]", node).flatMap((list) => list.textContent.split(", ").map((name) => ({
        control: numbers.get(name), severity: severities.get(numbers.get(name)), status: list.dataset.quiet, name,
      }))),
    }));
    return { hosts, names, columns: all(".map thead th").map((head) => one("a", head).hash.slice(9)), controls: all("#controls .control") };
  };

  // Rules for columns: thousands of cells are hidden by one rule each, which the policy lets a script set.
  const columns = new CSSStyleSheet();
  document.adoptedStyleSheets = [columns];

  const view = () => ({
    q: search.value.trim().toLowerCase(), severity: chosen("severity"), status: chosen("status"),
    control: control.value, group: group ? group.value : "",
  });

  const filter = () => {
    const wanted = view();
    const narrow = wanted.severity.length + wanted.status.length > 0 || wanted.control !== "";
    const any = narrow || wanted.q !== "" || wanted.group !== "";
    if (!any && index === null) return;
    index = index || read();
    const fits = (finding) =>
      (wanted.control === "" || finding.control === wanted.control) &&
      (wanted.severity.length === 0 || wanted.severity.includes(finding.severity)) &&
      (wanted.status.length === 0 || wanted.status.includes(finding.status));
    // Who asks for a severity asks for what is wrong.
    const quiet = wanted.status.length > 0 || wanted.severity.length === 0;
    const says = (finding) => {
      if (wanted.q === "") return true;
      if (finding.name !== undefined) return finding.name.includes(wanted.q);
      finding.text = finding.text === null ? finding.node.textContent.toLowerCase() : finding.text;
      return finding.text.includes(wanted.q);
    };
    let hosts = 0, findings = 0;
    const seen = new Set();
    for (const host of index.hosts) {
      const named = wanted.q === "" || host.text.includes(wanted.q);
      const grouped = wanted.group === "" || host.groups.includes(wanted.group);
      let matching = 0;
      for (const finding of host.findings) {
        const match = grouped && fits(finding) && (named || says(finding));
        finding.node.hidden = any && !match;
        matching += match;
        if (match) seen.add(finding.control);
      }
      const loud = matching;
      for (const finding of quiet ? host.quiet : []) {
        if (grouped && fits(finding) && (named || says(finding))) { matching += 1; seen.add(finding.control); }
      }
      const visible = grouped && (matching > 0 || (named && !narrow));
      host.node.hidden = !visible;
      if (host.row) host.row.hidden = !visible;
      hosts += visible;
      findings += visible ? loud : 0;
    }
    columns.replaceSync(index.columns.map((key, at) => any && narrow && !seen.has(key)
      ? `.map tr > :nth-child(${at + 2}):not([colspan]) { display: none; }` : "").join(""));
    for (const each of index.controls) each.hidden = any && (narrow || wanted.q !== "") && !seen.has(each.dataset.c);
    one("#nothing").hidden = hosts > 0;
    shown.value = any ? `${hosts} of ${index.hosts.length} hosts, ${findings} findings` : "";
  };

  // The address holds the view: #q=web&severity=high,critical&at=host-web1; a lone name is an anchor.
  const keep = (at) => {
    const wanted = view(), parts = new URLSearchParams();
    if (search.value !== "") parts.set("q", search.value);
    for (const name of ["severity", "status"]) if (wanted[name].length) parts.set(name, wanted[name].join(","));
    if (label(control)) parts.set("control", label(control));
    if (label(group)) parts.set("group", label(group));
    if (root.dataset.theme) parts.set("theme", root.dataset.theme);
    const plain = at && parts.size === 0;
    if (at && !plain) parts.set("at", at);
    history.replaceState(null, "", "#" + (plain ? at : parts.toString()));
  };

  const show = (id) => {
    const target = id ? document.getElementById(id) : null;
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target.scrollIntoView();
    const focus = one("summary, a, button", target);
    if (target.tagName === "DETAILS" && focus) focus.focus({ preventScroll: true });
  };

  const restore = () => {
    const text = location.hash.slice(1);
    if (text === "" || !text.includes("=")) { show(text); return; }
    const parts = new URLSearchParams(location.hash.slice(1));
    search.value = parts.get("q") || "";
    for (const name of ["severity", "status"]) {
      const values = (parts.get(name) || "").split(",");
      for (const box of boxes[name]) box.checked = values.includes(box.value);
    }
    choose(control, parts.get("control"));
    choose(group, parts.get("group"));
    if (["light", "dark"].includes(parts.get("theme"))) root.dataset.theme = parts.get("theme");
    filter();
    show(parts.get("at"));
  };

  let pending = 0;
  const changed = () => { filter(); keep(); };
  const clear = () => {
    search.value = "";
    for (const box of [...boxes.severity, ...boxes.status]) box.checked = false;
    control.value = "";
    if (group) group.value = "";
    changed();
  };

  search.addEventListener("input", () => { clearTimeout(pending); pending = setTimeout(changed, 120); });
  one(".filters").addEventListener("change", (event) => { if (event.target !== search) changed(); });
  one("#clear").addEventListener("click", clear);
  one("#nothing button").addEventListener("click", clear);
  one("#theme").addEventListener("click", () => {
    const dark = getComputedStyle(root).colorScheme === "dark" ||
      (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    keep();
  });

  const copied = (button, done) => {
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  const copy = (button) => {
    const code = button.nextElementSibling;
    const select = () => { getSelection().selectAllChildren(code); copied(button, document.execCommand("copy")); };
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => copied(button, true), select);
    else select();
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy");
    if (button) { copy(button); return; }
    const link = event.target.closest('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    keep(link.hash.slice(1));
    show(link.hash.slice(1));
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input[type=search], select, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
      search.select();
    }
    if (event.key === "Escape" && event.target === search) { search.value = ""; changed(); }
  });
  addEventListener("hashchange", restore);

  // Paper cannot be opened: all is, but for what the filters hide.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const each of closed) each.open = true;
  });
  addEventListener("afterprint", () => { for (const each of closed) each.open = false; closed = []; });

  if (location.hash) restore();
})();
