/* The page's frame: its skeleton, light and dark, dialogs. First of the parts. */
(() => {
  const R = window.ruminate;
  const { el, say, button, icon } = R;

  function skeleton(page) {
    const segment = (value) => el("button", { type: "button", "data-thoughts": value, role: "radio" }, say("thoughts_" + value));
    page.append(
      el("a.skip", { href: "#main", onclick: skip }, say("skip")),
      el("aside.side", { id: "side", "aria-label": say("conversations") },
        el("div.side-head", {}, el("span.brand", {}, mark(), say("app")),
          button("close", say("close"), () => R.openSide(false), { class: "only-narrow" })),
        el("button.new", { type: "button", id: "new" }, icon("plus"), say("new")),
        el("div.search", {}, icon("search"), el("input", { type: "search", id: "search", dir: "auto", placeholder: say("search"), "aria-label": say("search") })),
        el("nav", { id: "conversations", "aria-label": say("conversations") }),
        el("div.side-foot", {}, el("p", { id: "trust" }), el("p", { id: "who" }))),
      el("div.scrim", { id: "scrim", onclick: () => R.openSide(false) }),
      el("main.main", { id: "main" },
        el("header.top", {},
          button("menu", say("menu"), () => R.openSide(), { id: "menu", "aria-controls": "side" }),
          el("div.tabs", { role: "tablist" },
            el("button", { type: "button", role: "tab", id: "tab-chat", "aria-controls": "view-chat" }, say("chat")),
            el("button", { type: "button", role: "tab", id: "tab-training", "aria-controls": "view-training" }, say("training"))),
          el("h1.talk-title", { id: "talk-title", dir: "auto" }),
          button("theme", say("theme"), toggleTheme, { id: "theme" }),
          button("gear", say("settings"), () => R.openSettings(), { id: "settings" })),
        el("div.lost", { id: "lost", role: "alert", hidden: true }),
        el("section.view", { id: "view-chat", role: "tabpanel", "aria-labelledby": "tab-chat" },
          el("div.scroll", { id: "scroll", tabindex: "-1" },
            el("div.welcome", { id: "welcome" }, mark(), el("h1", {}, say("welcome")), el("p", {}, say("welcome_more")),
              el("div.suggestions", { id: "suggestions" }, ...[1, 2, 3, 4].map((n) => el("button", { type: "button" }, say("suggest_" + n)))),
              el("p.trust", { id: "trust-welcome" })),
            el("div.rows", { id: "rows" })),
          el("form.composer", { id: "composer" },
            el("button.to-end", { type: "button", id: "to-end", hidden: true, "aria-label": say("to_bottom"), title: say("to_bottom") }, icon("bottom")),
            el("div.options-panel", { id: "options-panel", hidden: true }),
            el("ul.files", { id: "files", hidden: true, "aria-label": say("files") }),
            el("textarea", { id: "message", rows: "1", placeholder: say("placeholder"), "aria-label": say("placeholder"), dir: "auto", autofocus: true }),
            el("div.composer-line", {},
              el("button.think", { type: "button", id: "think", "aria-pressed": "true", title: say("think_hint") }, say("think")),
              el("button.opener", { type: "button", id: "options", "aria-expanded": "false", "aria-controls": "options-panel", "aria-label": say("options"), title: say("options") }, icon("sliders"), el("span")),
              button("clip", say("attach"), null, { id: "attach" }),
              el("input", { type: "file", id: "file-input", multiple: true, hidden: true, "aria-label": say("attach") }),
              el("div.segments", { role: "radiogroup", "aria-label": say("thoughts"), id: "thoughts" },
                el("span", { "aria-hidden": "true" }, say("thoughts")), segment("off"), segment("collapsed"), segment("open")),
              el("div.spring"),
              el("button.round.stop", { type: "button", id: "stop", "aria-label": say("stop"), title: say("stop") }, icon("stop")),
              el("button.round.send", { type: "submit", id: "send", "aria-label": say("send"), title: say("send") }, icon("send"))))),
        el("section.view", { id: "view-training", role: "tabpanel", "aria-labelledby": "tab-training", hidden: true },
          el("div.scroll", {}, el("div.training", { id: "training", tabindex: "-1" })))),
      el("div.toasts", { id: "toasts", role: "alert" }),
      el("div.unseen", { id: "announcer", role: "status" }));
  }

  /* Past the side bar and the head, to what the view is for. */
  function skip(event) {
    event.preventDefault();
    document.querySelector(".view:not([hidden]) :is(#message, #training)").focus();
  }

  function mark() {
    const svg = icon("close");
    svg.classList.add("mark");
    svg.innerHTML = '<path d="M12 3.500a8.500 8.500 0 1 0 8.500 8.500"/><path d="M12 8a4 4 0 1 0 4 4"/><circle cx="12" cy="12" r=".6" fill="currentColor"/>';
    return svg;
  }

  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    document.body.classList.toggle("dark", theme === "dark"); // Gradio's own parts read this class
  }
  function toggleTheme() {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    R.remember("theme", next);
    setTheme(next);
  }
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosenTheme = () => R.recall("theme", system.matches ? "dark" : "light");
  system.addEventListener("change", () => setTheme(chosenTheme()));

  /* One of several things to choose, with a line on what it means. */
  R.option = (name, value, checked, words, more) => el("label.option", {},
    el("input", { type: "radio", name, value, checked }), el("span", {}, el("b", {}, words), more ? el("small", {}, more) : null));

  /* A question in a dialog. Resolves to what was typed ("" without a field) or chosen, or to null when it was left.
     `choices`: [value, words, what it means] of each; `value` is what stands there at first. `needed`: what is said by
     an empty field; without it a field may stay empty. */
  R.confirm = ({ title, text, field, needed, value = "", choices, ok = say("confirm"), danger = false }) => new Promise((resolve) => {
    const options = choices ? el("div.options", { role: "radiogroup", "aria-label": title }, ...choices.map(([one, words, more]) => R.option("choice", one, one === value, words, more))) : null;
    const input = field ? el("input", { type: "text", dir: "auto", "aria-label": field, placeholder: field, value, maxlength: "200", "aria-required": needed ? "true" : null, "aria-describedby": needed ? "needed" : null }) : null;
    const missing = needed ? el("p.failed", { id: "needed", role: "alert" }) : null;
    const dialog = el("dialog.ask", { "aria-label": title }, el("form", { method: "dialog" },
      el("h2", {}, title), text ? el("p", {}, text) : null, options, input, missing,
      el("div.dialog-acts", {}, el("button.plain", { type: "submit", value: "no", formnovalidate: true }, say("cancel")),
        el(`button.primary${danger ? ".danger" : ""}`, { type: "submit", value: "yes" }, ok))));
    const lacks = (empty) => {
      missing.textContent = empty ? needed : "";
      input.setAttribute("aria-invalid", String(empty));
      if (empty) input.focus();
      return empty;
    };
    const mayGo = () => !needed || !lacks(!input.value.trim());
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "yes" ? (options?.querySelector(":checked").value ?? input?.value.trim() ?? "") : null); });
    dialog.addEventListener("submit", (event) => { if (event.submitter?.value === "yes" && !mayGo()) event.preventDefault(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.localName === "input" && !R.composing(event)) { event.preventDefault(); if (mayGo()) dialog.close("yes"); }
    });
    if (needed) input.addEventListener("input", () => { if (input.value.trim()) lacks(false); });
    document.getElementById("page").append(dialog);
    dialog.showModal();
    (options?.querySelector(":checked") ?? input ?? dialog.querySelector("[value=yes]")).focus();
    input?.select();
  });

  let toasts = null; // an open dialog covers all that is not in it, and keeps it from who has the page read out
  R.toast = (words) => {
    const toast = el("div.toast", {}, R.sentence(words));
    toasts ??= document.getElementById("toasts");
    ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.getElementById("page")).append(toasts);
    toasts.append(toast);
    setTimeout(() => toast.remove(), 7000);
  };

  const narrow = matchMedia("(max-width: 800px)"); // there the side bar lies over the page
  const sideShown = () => (narrow.matches ? document.body.classList.contains("side-open") : !document.body.classList.contains("side-closed"));
  function tellSide() {
    document.getElementById("menu").setAttribute("aria-expanded", String(sideShown()));
    document.getElementById("main").inert = narrow.matches && sideShown();
  }
  R.openSide = (open = !sideShown()) => {
    if (open === sideShown()) return;
    document.body.classList.toggle(narrow.matches ? "side-open" : "side-closed", open === narrow.matches);
    tellSide();
    if (!narrow.matches) return;
    const side = document.getElementById("side");
    if (open) side.querySelector("#new").focus();
    else if (side.contains(document.activeElement)) document.getElementById("menu").focus();
  };

  R.parts.unshift((page) => {
    page.id = "page";
    setTheme(chosenTheme());
    skeleton(page);
    narrow.addEventListener("change", tellSide);
    tellSide();
    page.querySelector("#side").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !narrow.matches) return;
      event.stopPropagation(); // it stops no answer
      R.openSide(false);
    });
    const mode = () => R.recall("thoughts", "collapsed");
    const radios = [...page.querySelectorAll("[data-thoughts][role=radio]")];
    const mark = () => { for (const one of radios) { const on = one.dataset.thoughts === mode(); one.setAttribute("aria-checked", String(on)); one.tabIndex = on ? 0 : -1; } };
    for (const one of radios) one.addEventListener("click", () => { R.remember("thoughts", one.dataset.thoughts); mark(); R.applyThoughts(); });
    page.querySelector("#thoughts").addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = radios[(radios.indexOf(document.activeElement) + by + radios.length) % radios.length];
      next.click();
      next.focus();
    });
    mark();
    const tabs = [...page.querySelectorAll("[role=tab]")];
    page.querySelector(".tabs").addEventListener("keydown", (event) => {
      if (["ArrowLeft", "ArrowRight"].includes(event.key)) tabs.find((tab) => tab !== document.activeElement).focus();
    });
    page.querySelector("#new").addEventListener("click", R.newChat);
    page.querySelector("#tab-chat").addEventListener("click", R.backToChat);
    page.querySelector("#tab-training").addEventListener("click", () => R.go({ view: "training" }));
    page.addEventListener("click", (event) => {
      const link = event.target.closest("a[href^='?']");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      R.go(Object.fromEntries(new URLSearchParams(link.getAttribute("href"))));
    });
    addEventListener("popstate", R.goBack);
  });
})();
