/* The page about the training: shows what the server drew, asks again while it is open, carries out its buttons. */
(() => {
  const R = window.ruminate;
  const { say } = R;
  const ASK_AGAIN_MS = 2000; // a step of a round takes seconds; faster would only cost

  R.parts.push((page) => {
    const box = page.querySelector("#training");
    let html = null;
    let timer = null;

    const thisYear = new Date().getFullYear();
    const moment = (iso) => {
      const at = new Date(iso);
      const year = at.getFullYear() === thisYear ? undefined : "numeric";
      return at.toLocaleString(document.documentElement.lang || undefined, { day: "numeric", month: "short", year, hour: "2-digit", minute: "2-digit", hour12: false });
    };

    const shown = () => !page.querySelector("#view-training").hidden;
    const ask = () => { const { checkpoint, round } = R.view(); R.send("training", { checkpoint, round }); };
    let address = "";
    R.showTraining = () => {
      if (address !== location.search) box.parentElement.scrollTop = 0; // another page begins at its top
      address = location.search;
      ask();
      clearInterval(timer);
      timer = setInterval(() => {
        if (!shown()) clearInterval(timer);
        else if (document.visibilityState === "visible" && !document.querySelector("dialog[open]")) ask();
      }, ASK_AGAIN_MS);
    };
    R.on("training", (value) => {
      R.nowLive(value.live, false);
      if (value.html === html) return;
      html = value.html;
      const focused = document.activeElement?.id;
      const open = [...box.querySelectorAll("details[open]")].map((one) => one.id);
      box.innerHTML = html;
      for (const time of box.querySelectorAll("time")) time.textContent = moment(time.dateTime);
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      if (focused && box.querySelector("#" + CSS.escape(focused))) document.getElementById(focused).focus();
    });

    box.addEventListener("click", async (event) => {
      const button = event.target.closest("button[data-do]");
      if (!button) return;
      const { do: what, name, id, generation } = button.dataset;
      const asks = {
        promote: { title: say("promote"), text: say("promote_ask", { name }) },
        rollback: { title: say("rollback"), text: say("rollback_ask", { name }) },
        start: { title: say("round_start") },
        cancel: { title: say("round_cancel") },
        drop: { title: say("keep_drop"), text: say("keep_drop_ask"), field: null },
      };
      const reason = await R.confirm({ field: say("reason"), ...asks[what], ok: asks[what].title, danger: what === "cancel" });
      if (reason !== null) R.send("train", { do: what, name, id, generation, reason, ...R.view() });
    });

    /* Hover: the nearest step of a plot, its values in a line above it. */
    box.addEventListener("pointermove", (event) => {
      const plot = event.target.closest("svg.plot");
      for (const other of box.querySelectorAll("svg.plot .at")) if (!plot?.contains(other)) other.setAttribute("visibility", "hidden");
      if (!plot) return;
      const points = JSON.parse(plot.dataset.points);
      if (!points.length) return;
      const x = (event.clientX - plot.getBoundingClientRect().left) * (plot.viewBox.baseVal.width / plot.clientWidth);
      const nearest = points.reduce((best, one) => (Math.abs(one.x - x) < Math.abs(best.x - x) ? one : best));
      const line = plot.querySelector(".at");
      line.setAttribute("visibility", "visible");
      line.setAttribute("x1", nearest.x);
      line.setAttribute("x2", nearest.x);
      plot.closest("figure").querySelector("output").textContent = nearest.words;
    });
  });

  R.parts.push(() => R.arrive());
})();
