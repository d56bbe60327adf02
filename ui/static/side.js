/* The side bar with the conversations, and what is the person's own: consent, data, key. */
(() => {
  const R = window.ruminate;
  const { el, say, button, icon } = R;
  const SEARCH_MS = 250; // nobody types slower within a word

  R.parts.push((page) => {
    const list = page.querySelector("#conversations");
    const search = page.querySelector("#search");
    let lines = [];
    let found = null; // what the gateway found for these words: {words, lines}
    let asking = 0;
    let me = {};

    const typed = () => search.value.trim().slice(0, 200);
    function ask(after) {
      clearTimeout(asking);
      const words = typed();
      if (words && found?.words !== words) asking = setTimeout(() => R.send("act", { do: "search", words }), after);
    }
    function draw() {
      const wanted = typed();
      const titled = lines.filter((line) => (line.title || say("untitled")).toLowerCase().includes(wanted.toLowerCase()));
      const known = new Map(lines.map((line) => [line.id, line])); // titles change, excerpts do not
      const inside = wanted && found?.words === wanted ? found.lines.map((line) => ({ ...line, ...known.get(line.id) })) : [];
      const seen = new Set(inside.map((line) => line.id));
      const shown = [...inside, ...titled.filter((line) => !seen.has(line.id))];
      const focused = list.contains(document.activeElement) && document.activeElement;
      const at = focused && { id: focused.closest(".item").dataset.id, tag: focused.localName };
      list.replaceChildren(...(shown.length ? shown.map(item) : [el("p.quiet", {}, say(lines.length ? "nothing_found" : "empty_list"))]));
      if (at) list.querySelector(`.item[data-id="${CSS.escape(at.id)}"] ${at.tag}`)?.focus(); // the list was drawn anew around whoever is in it
      R.markPlace();
    }
    function item(line) {
      const title = line.title || say("untitled");
      return el("div.item", { "data-id": line.id },
        el("a", { href: "?c=" + encodeURIComponent(line.id), title }, line.pinned ? icon("pin") : null,
          el("span", { dir: "auto" }, title, line.excerpt ? el("small", {}, line.excerpt) : null)),
        button("dots", `${say("more")}: ${title}`, (event) => menu(event.currentTarget, line), { "aria-haspopup": "menu" }));
    }
    function menu(anchor, line) {
      document.querySelector(".menu")?.remove();
      const entry = (words, run, cls = "") => el("button" + cls, { type: "button", role: "menuitem", onclick: () => { close(); anchor.focus(); run(); } }, words);
      const act = (what, more = {}) => R.send("act", { do: what, conversation: line.id, ...more });
      const box = el("div.menu", { role: "menu" },
        entry(say("rename"), async () => {
          const title = await R.confirm({ title: say("rename"), field: say("rename_ask"), value: line.title, ok: say("save") });
          if (title) act("rename", { title });
        }),
        entry(say(line.pinned ? "unpin" : "pin"), () => act("pin", { pinned: !line.pinned })),
        entry(say("export_md"), () => act("export", { form: "md", tip: R.tip(line.id) })),
        entry(say("export_json"), () => act("export", { form: "json" })),
        entry(say("learnt"), () => act("learnt", { live: R.me?.live?.name })),
        entry(say("delete"), async () => {
          const text = say("delete_ask", { title: line.title || say("untitled") });
          if (await R.confirm({ title: say("delete"), text, ok: say("delete"), danger: true }) === null) return;
          act("delete");
          if (R.place() === line.id) R.newChat();
        }, ".danger"));
      const place = anchor.getBoundingClientRect();
      const above = place.bottom + 245 > innerHeight;
      box.style.left = `${Math.min(place.left, innerWidth - 190)}px`;
      box.style[above ? "bottom" : "top"] = above ? `${innerHeight - place.top + 4}px` : `${place.bottom + 4}px`;
      const away = (event) => { if (!box.contains(event.target)) close(); };
      const keys = (event) => {
        const entries = [...box.children];
        const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        const end = { Home: entries[0], End: entries.at(-1) }[event.key];
        if (by || end) { event.preventDefault(); (end ?? entries[(entries.indexOf(document.activeElement) + by + entries.length) % entries.length]).focus(); }
        if (event.key === "Tab") { close(); anchor.focus(); } // and goes on from there
        if (event.key === "Escape") { event.stopPropagation(); close(); anchor.focus(); }
      };
      const close = () => { box.remove(); document.removeEventListener("pointerdown", away, true); };
      box.addEventListener("keydown", keys);
      document.addEventListener("pointerdown", away, true);
      page.append(box);
      box.firstElementChild.focus();
    }

    R.markPlace = () => {
      const at = R.view().c;
      for (const one of list.querySelectorAll(".item")) {
        if (one.dataset.id === at) one.firstElementChild.setAttribute("aria-current", "page");
        else one.firstElementChild.removeAttribute("aria-current");
      }
      const line = lines.find((one) => one.id === at);
      page.querySelector("#talk-title").textContent = at ? (line?.title ?? "") : "";
      document.title = line?.title ? `${line.title} · ${say("app")}` : say("app");
    };
    search.addEventListener("input", () => { draw(); ask(SEARCH_MS); });
    search.addEventListener("keydown", (event) => {
      if (R.composing(event)) return;
      if (event.key === "Escape" && search.value) event.stopPropagation(); // it empties the field, and stops no answer
      const first = list.querySelector(".item a");
      if (event.key === "ArrowDown" && first) { event.preventDefault(); first.focus(); }
      if (event.key === "Enter" && first && search.value) first.click();
    });
    list.addEventListener("keydown", (event) => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const links = [...list.querySelectorAll(".item a")];
      const next = by && links[links.indexOf(document.activeElement.closest(".item")?.firstElementChild) + by];
      if (by) { event.preventDefault(); (next ?? (by < 0 ? search : links[0]))?.focus(); }
    });
    R.on("side", (value) => {
      if (value.found) { found = value.found; draw(); return; }
      lines = value.lines;
      found = null; // something was said, renamed or deleted
      draw();
      ask(0);
      R.nowLive?.(value.live, true);
    });
    draw();

    // -- the person

    function trust(where, short) {
      if (!me.consent) { where.replaceChildren(); return; }
      const change = el("button.text-button", { type: "button", onclick: R.openSettings }, say("trust_change"));
      where.replaceChildren(say("trust_" + (me.consent === "train" && R.chatConsent() ? R.chatConsent() : me.consent)), " ", change);
    }

    R.drawTrust = () => { for (const id of ["#trust", "#trust-welcome"]) trust(page.querySelector(id)); };

    R.openSettings = () => {
      document.querySelector("dialog.settings")?.remove();
      const option = (value) => R.option("consent", value, me.consent === value, say(`consent_${value}`), say(`consent_${value}_more`));
      const learn = el("input", {
        type: "checkbox", checked: (R.chatConsent() || me.consent) === "train",
        onchange: (event) => R.setChatConsent(event.target.checked ? "" : "history"),
      });
      const whyNot = el("p.quiet", { id: "learn-why-not" }, say("learn_why_not"));
      const may = (consent) => { learn.disabled = consent !== "train"; whyNot.hidden = !learn.disabled; };
      may(me.consent);
      R.settingsAsKept = () => { // a choice that the gateway did not take does not stand there as if it had
        for (const input of dialog.querySelectorAll("[name=consent]")) input.checked = input.value === me.consent;
        may(me.consent);
      };
      learn.setAttribute("aria-describedby", whyNot.id);
      const dialog = el("dialog.settings", { "aria-label": say("settings") },
        el("div.dialog-head", {}, el("h2", {}, say("consent_title")), button("close", say("close"), () => dialog.close())),
        el("form.options", { onchange: (event) => { may(event.target.value); R.send("act", { do: "consent", consent: event.target.value }); } },
          option("train"), option("history"), option("none")),
        el("p.quiet", {}, say("consent_note")),
        el("h2", {}, say("conversation_consent")),
        el("label.check", {}, learn, say("learn")), whyNot,
        el("h2", {}, say("data_title")),
        me.name ? el("p.account", {}, say("account", { name: me.name })) : null,
        el("div.dialog-acts.start", {},
          el("button.plain", { type: "button", onclick: () => R.send("act", { do: "take_data" }) }, say("take_data")),
          el("button.plain.danger-text", { type: "button", onclick: async () => {
            if (await R.confirm({ title: say("delete_data"), text: say("delete_data_ask"), ok: say("delete_data"), danger: true }) === null) return;
            R.send("act", { do: "forget_me" });
            dialog.close();
            R.newChat();
          } }, say("delete_data")),
          me.signed ? el("button.plain", { type: "button", onclick: () => signOut() }, say("signout")) : null),
        el("button.text-button.keys-link", { type: "button", onclick: () => { dialog.close(); R.openKeys(); } }, say("keys")));
      page.append(dialog);
      dialog.addEventListener("close", () => { dialog.remove(); R.settingsAsKept = null; });
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
      dialog.showModal();
    };

    function signIn(wrong) {
      if (document.querySelector("dialog.signin")) return;
      const key = el("input", { type: "password", required: true, autocomplete: "current-password", placeholder: "rk-…", "aria-label": say("signin_key") });
      const dialog = el("dialog.ask.signin", { "aria-label": say("signin_title") }, el("form", {
        onsubmit: async (event) => {
          event.preventDefault();
          const headers = { "Content-Type": "application/json" };
          const reply = await fetch("signin", { method: "POST", headers, body: JSON.stringify({ key: key.value }) }).catch(() => null);
          if (reply?.ok) { R.remember("signed", R.newName()); location.reload(); return; }
          const told = await reply?.json().catch(() => null); // a proxy's page is no JSON
          note.textContent = told?.error ?? say("unreached");
        },
      }, el("h2", {}, say("signin_title")), el("p", {}, say("signin_more")), key, el("div.dialog-acts", {}, el("button.primary", { type: "submit" }, say("signin")))));
      const note = el("p.failed", { role: "alert" }, wrong ? say("signin_wrong") : "");
      key.after(note);
      dialog.addEventListener("cancel", (event) => event.preventDefault());
      page.append(dialog);
      dialog.showModal();
    }
    R.needKey = () => signIn(false);
    async function signOut() {
      const reply = await fetch("signout", { method: "POST" }).catch(() => null);
      if (!reply?.ok) { R.toast(say("unreached")); return; } // still signed in, and nothing is lost
      R.forgetAll();
      R.remember("signed", R.newName());
      location.href = location.pathname;
    }
    /* Somebody signed in or out in another tab: what stands here is another person's. */
    addEventListener("storage", (event) => {
      if (event.key !== "ruminate-signed") return;
      R.forgetAll();
      location.href = location.pathname;
    });

    function showLive() {
      page.querySelector("#who").replaceChildren(...(me.live ? [el("a", { href: "?checkpoint=" + encodeURIComponent(me.live.name) }, el("span.dot"), `${say("live")}: ${me.live.name}`)] : []));
    }
    /* What answers by now. It changes while pages are open; whoever chats is told once. */
    R.nowLive = (live, tell) => {
      if (!live || !me.live || live.name === me.live.name) return;
      me.live = live;
      showLive();
      if (tell) R.toast(say("live_now", { name: live.name }));
    };

    let toastSeen; // not a count: a machine that was started anew begins it anew
    R.on("me", (value) => {
      me = { ...me, ...value };
      R.me = me;
      if (value.need_key) signIn(false);
      showLive();
      R.drawTrust();
      R.settingsAsKept?.();
      if (value.n !== undefined && value.n !== toastSeen) {
        toastSeen = value.n;
        if (value.toast) R.toast(value.toast);
        if (value.download) save(value.download);
      }
    });
    function save({ name, text, type }) {
      const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }
  });
})();
