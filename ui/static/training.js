/* The page about the training: shows what the server drew, asks for changes while it is open, carries out its buttons. */
(() => {
  const R = window.ruminate;
  const { say } = R;
  const ASK_AGAIN_MS = 2000; // a step of a round takes seconds; faster would only cost
  const WHOLE = 15; // so many asks from one to the next that gets the page whatever the mark: votes are not in it

  R.parts.push((page) => {
    const box = page.querySelector("#training");
    const draw = R.drawing(box);
    let mark = "";
    let asked = 0;
    let timer = null;

    const thisYear = new Date().getFullYear();
    const moment = (iso) => {
      const at = new Date(iso);
      const year = at.getFullYear() === thisYear ? undefined : "numeric";
      return at.toLocaleString(document.documentElement.lang || undefined, { day: "numeric", month: "short", year, hour: "2-digit", minute: "2-digit", hour12: false });
    };

    const shown = () => !page.querySelector("#view-training").hidden;
    /* Of the address no more than this goes out: a link in an answer may say anything, what a button asks for too. */
    const place = () => { const { checkpoint, round } = R.view(); return { checkpoint, round }; };
    const ask = () => R.send("training", { ...place(), mark: asked++ % WHOLE ? mark : "" });
    let address = "";
    R.showTraining = () => {
      if (address !== location.search) box.parentElement.scrollTop = 0; // another page begins at its top
      address = location.search;
      asked = 0;
      ask();
      clearInterval(timer);
      timer = setInterval(() => {
        if (!shown()) clearInterval(timer);
        else if (document.visibilityState === "visible" && !document.querySelector("dialog[open]")) ask();
      }, ASK_AGAIN_MS);
    };
    let drawnAt = null;
    R.on("training", (value) => {
      const { checkpoint, round } = place();
      const here = JSON.stringify([round ?? null, checkpoint ?? null]);
      if (value.html === undefined || JSON.stringify(value.place) !== here) return; // of a page that was left meanwhile
      R.nowLive(value.live, false);
      if (value.need_key) R.needKey();
      mark = value.mark;
      const focused = document.activeElement;
      const [id, around, within] = [focused?.id, focused?.closest("tr, .card"), box.contains(focused)];
      draw(value.html, drawnAt !== here);
      drawnAt = here;
      readAgain();
      for (const time of box.querySelectorAll("time")) time.textContent = moment(time.dateTime);
      count();
      const same = id && box.querySelector("#" + CSS.escape(id));
      if (same) same.focus();
      else if (within && !box.contains(focused)) near(box.contains(around) && around).focus({ preventScroll: true });
    });

    /* Where who goes by keyboard goes on when the button that they pressed is gone: in its row or card, else at the top. */
    function near(around) {
      const found = (around && around.querySelector("a, button")) || box.querySelector("h1") || box;
      if (!found.matches("a, button")) found.tabIndex = -1;
      return found;
    }

    /* How long a running round has taken by now: seconds when it was drawn, and those since. */
    function count() {
      for (const one of box.querySelectorAll("[data-took]")) {
        if (one.told !== one.dataset.took) { one.told = one.dataset.took; one.begun = performance.now() - Number(one.told) * 1000; }
        const words = R.span((performance.now() - one.begun) / 1000);
        if (one.textContent !== words) one.textContent = words;
      }
    }
    setInterval(() => { if (shown()) count(); }, 1000);
    const readAgain = R.readPlots(box);

    box.addEventListener("click", async (event) => {
      const button = event.target.closest("button[data-do]");
      if (!button) return;
      const { do: what, name, id, generation } = button.dataset;
      const why = { field: say("reason"), needed: say("reason_needed") }; // the record of what was live tells it
      const asks = {
        promote: { title: say("promote"), text: say("promote_ask", { name }), ...why },
        rollback: { title: say("rollback"), text: say("rollback_ask", { name }), ...why },
        start: { title: say("round_start") },
        cancel: { title: say("round_cancel") },
        drop: { title: say("keep_drop"), text: say("keep_drop_ask"), field: null },
      };
      const reason = await R.confirm({ field: say("reason_optional"), ...asks[what], ok: asks[what].title, danger: what === "cancel" });
      if (reason !== null) R.send("train", { do: what, name, id, generation, reason, ...place() });
    });
  });

  R.parts.push(() => R.arrive());
})();
