/* How the next answer is made: thinking or not, with what effort, alone or two to compare. Remembered by conversation. */
(() => {
  const R = window.ruminate;
  const { el, say } = R;
  const REMEMBERED = 200; // conversations; older ones go by what their last answer was asked
  const EFFORTS = ["", "low", "medium", "high"];
  const USUAL = { think: true, effort: "", compare: "" };

  R.parts.push((page) => {
    const think = page.querySelector("#think");
    const opener = page.querySelector("#options");
    const panel = page.querySelector("#options-panel");
    const summary = opener.querySelector("span");
    let kept = {};
    const read = () => { try { kept = JSON.parse(R.recall("options", JSON.stringify(kept))); } catch { /* written by something else: begin anew */ } };
    read();
    let now = { ...USUAL, ...kept.new };
    let comparable = false; // whether there is another version, the canary or the one before

    const group = (name, values) => el("fieldset", { "data-option": name }, el("legend", {}, say(name)),
      el("div.pills", {}, ...values.map((value) => el("label", {}, el("input", { type: "radio", name, value }), el("span", {}, say(`${name}_${value || "usual"}`))))),
      el("small", {}, say(`${name}_hint`)));
    panel.append(group("effort", EFFORTS), group("compare", ["", "samples", "previous"]));

    function draw() {
      think.setAttribute("aria-pressed", String(now.think));
      for (const input of panel.querySelectorAll("input")) {
        input.checked = now[input.name] === input.value;
        input.disabled = (input.name === "effort" && !now.think) || (input.value === "previous" && !comparable);
      }
      const said = [now.think && now.effort ? say("effort_short", { effort: say("effort_" + now.effort) }) : "", now.compare ? say("compare_short") : ""];
      summary.textContent = said.filter(Boolean).join(" · ");
      opener.classList.toggle("on", summary.textContent !== "");
    }
    function change(what) {
      now = { ...now, ...what };
      keep(R.place());
      draw();
    }
    /* A new conversation begins as the last one was asked to think, and alone: two answers take twice the time. */
    function keep(conversation) {
      read(); // other tabs write too
      if (conversation) { delete kept[conversation]; kept[conversation] = now; }
      kept.new = { think: now.think, effort: now.effort };
      const names = Object.keys(kept).filter((name) => name !== "new");
      for (const name of names.slice(0, Math.max(0, names.length - REMEMBERED))) delete kept[name];
      R.remember("options", JSON.stringify(kept));
    }

    R.forgets.push(() => { kept = {}; R.remember("options", "{}"); });
    R.options = () => ({ ...now });
    R.optionsAdopted = (conversation) => keep(conversation);
    R.on("transcript", (value) => {
      if (value.keep > 0 || value.stale || value.failed) return;
      now = { ...USUAL, ...(R.place() ? value.thinking : kept.new), ...kept[R.place()] };
      if (!EFFORTS.includes(now.effort)) now.effort = ""; // asked by a program, in other words than the page has
      draw();
    });
    const known = (value) => { comparable = value.comparable ?? comparable; draw(); };
    R.on("me", known);
    R.on("side", known); // a first checkpoint may have gone live while the page is open
    think.addEventListener("click", () => change({ think: !now.think }));
    panel.addEventListener("change", (event) => change({ [event.target.name]: event.target.value }));

    /* A narrow line has no room for the switch of the thoughts: there it stands in the panel. */
    const thoughts = page.querySelector("#thoughts");
    const narrow = matchMedia("(max-width: 800px)");
    const settle = () => { if (narrow.matches) panel.prepend(thoughts); else page.querySelector("#attach").after(thoughts); };
    narrow.addEventListener("change", settle);
    settle();

    const open = (on) => {
      panel.hidden = !on;
      opener.setAttribute("aria-expanded", String(on));
      if (on) panel.querySelector("input:checked:not(:disabled)")?.focus();
    };
    thoughts.addEventListener("keydown", (event) => { if (event.key === "Enter") event.stopPropagation(); });
    opener.addEventListener("click", () => open(panel.hidden));
    document.addEventListener("pointerdown", (event) => { if (!panel.contains(event.target) && !opener.contains(event.target)) open(false); });
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.stopPropagation(); open(false); opener.focus(); }
      if (event.key === "Enter") { event.preventDefault(); open(false); R.focusComposer(); }
    });
    draw();
  });
})();
