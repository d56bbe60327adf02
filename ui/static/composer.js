/* Where one writes: the box at the bottom, the edit of an earlier message, the question after a thumb. */
(() => {
  const R = window.ruminate;
  const { el, say } = R;

  R.parts.push((page) => {
    const form = page.querySelector("#composer");
    const box = form.querySelector("textarea");
    const fit = (area) => { area.style.height = "auto"; area.style.height = Math.min(area.scrollHeight, 220) + "px"; };

    const ready = () => { form.classList.toggle("ready", box.value.trim() !== "" || R.hasFiles()); fit(box); };
    R.composerReady = ready;
    box.addEventListener("input", ready);
    const touch = matchMedia("(pointer: coarse)"); // there Enter is a new line, as everywhere on a phone
    const sends = (event) => event.key === "Enter" && !event.shiftKey && !R.composing(event) && !touch.matches;
    let waiting = false; // a message that was sent before its conversation was there goes once it is

    const submit = () => {
      const text = box.value.trim();
      if ((!text && !R.hasFiles()) || R.answering() || R.mustChoose()) return;
      if (R.lost()) { R.toast(R.lost()); return; }
      if (R.loading()) { waiting = true; return; }
      const { files, pictures } = R.files();
      R.draftSent();
      R.ask({ do: "send", text, files, pictures: pictures.map((one) => one.url) });
    };
    R.turns.push(() => { waiting = false; });
    R.on("transcript", (value) => {
      if (value.keep > 0 || value.stale || !waiting) return;
      waiting = false;
      if (!value.failed) submit();
    });
    form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
    box.addEventListener("keydown", (event) => {
      if (sends(event)) { event.preventDefault(); submit(); }
      if (event.key === "ArrowUp" && !box.value && !R.composing(event)) {
        const own = page.querySelectorAll(".row.user");
        if (own.length) { event.preventDefault(); own[own.length - 1].querySelector("[data-do=edit]").click(); }
      }
    });
    form.querySelector("#stop").addEventListener("click", () => R.stop());
    R.focusComposer = () => { if (matchMedia("(pointer: fine)").matches) box.focus(); };
    page.querySelector("#suggestions").addEventListener("click", (event) => {
      if (!event.target.matches("button") || R.answering()) return;
      if (box.value.trim() || R.hasFiles()) { R.ask({ do: "send", text: event.target.textContent }); return; } // a draft stays
      box.value = event.target.textContent;
      box.dispatchEvent(new Event("input"));
      submit();
    });

    R.editRow = (row, index, begun = row.raw) => {
      if (R.answering() || row.querySelector("form")) return;
      const area = el("textarea", { "aria-label": say("edit"), rows: "1", dir: "auto" }, begun);
      const bubble = row.querySelector(".bubble");
      const close = () => { R.keepEdit(index, null); editor.remove(); bubble.hidden = false; row.classList.remove("editing"); };
      const editor = el("form.editor", {
        onsubmit: (event) => {
          event.preventDefault();
          const text = area.value.trim();
          const { files, pictures } = row;
          if (!text && !files.length && !pictures.length) return;
          R.editSent();
          R.ask({ do: "edit", id: row.dataset.id, index, text, files, pictures, kept: true });
        },
        onkeydown: (event) => {
          if (R.composing(event)) return;
          if (event.key === "Escape") { event.stopPropagation(); close(); R.focusComposer(); }
          if (sends(event)) { event.preventDefault(); editor.requestSubmit(); }
        },
      }, area, el("div.editor-acts", {},
        el("button.plain", { type: "button", onclick: close }, say("cancel")),
        el("button.primary", { type: "submit" }, say("resend"))));
      bubble.hidden = true;
      row.classList.add("editing");
      bubble.after(editor);
      area.addEventListener("input", () => { fit(area); R.keepEdit(index, area.value); });
      fit(area);
      area.focus();
      area.setSelectionRange(area.value.length, area.value.length);
    };

    R.on("me", ({ rated }) => { // the gateway did not take a thumb: what it has stands there again
      const row = rated && page.querySelector(`.row[data-generation="${CSS.escape(rated.generation)}"]`);
      if (!row) return;
      for (const [name, rating] of [["good", 1], ["bad", -1]]) row.querySelector(`[data-do=${name}]`)?.setAttribute("aria-pressed", String(rated.rating === rating));
      row.querySelector(".why")?.remove();
    });

    /* A thumb counts at once; words and tags may follow. Pressing it again takes it back. */
    R.rate = (button, row, rating) => {
      const generation = row.dataset.generation;
      const { thought } = row;
      const shown = { thoughts: R.recall("thoughts", "collapsed"), opened: Boolean(thought?.open), width: innerWidth };
      const back = button.getAttribute("aria-pressed") === "true";
      for (const other of row.querySelectorAll("[data-do=good], [data-do=bad]")) other.setAttribute("aria-pressed", String(other === button && !back));
      R.send("act", { do: "rate", id: row.dataset.id, generation, rating: back ? 0 : rating, shown });
      row.querySelector(".why")?.remove();
      if (back) return;
      const tags = rating > 0 ? ["helpful", "correct", "clear"] : ["wrong", "incomplete", "offtopic", "style"];
      const words = el("input", { type: "text", dir: "auto", "aria-label": say(rating > 0 ? "why_good" : "why_bad"), placeholder: say(rating > 0 ? "why_good" : "why_bad") });
      const why = el("form.why", {
        onsubmit: (event) => {
          event.preventDefault();
          const chosen = [...why.querySelectorAll("[aria-pressed=true]")].map((tag) => tag.dataset.tag);
          R.send("act", { do: "rate", id: row.dataset.id, generation, rating, tags: chosen, words: words.value.trim(), shown });
          why.replaceChildren(say("thanks"));
          setTimeout(() => why.remove(), 2500);
        },
      }, el("div.tags", {}, ...tags.map((tag) => el("button.tag", {
        type: "button", "data-tag": tag, "aria-pressed": "false",
        onclick: (event) => { const on = event.currentTarget; on.setAttribute("aria-pressed", String(on.getAttribute("aria-pressed") !== "true")); },
      }, say("tag_" + tag)))), el("div.why-line", {}, words, el("button.plain", { type: "submit" }, say("send")),
      R.button("close", say("close"), () => why.remove())));
      row.append(why);
      why.scrollIntoView({ block: "nearest" });
    };
  });
})();
