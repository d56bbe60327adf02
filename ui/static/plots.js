/* Reading a plot: the nearest point under a pointer or finger, or one after another by the arrow keys, told in a line. */
(() => {
  const R = window.ruminate;

  R.readPlots = (box) => {
    const points = (reader) => JSON.parse(reader.dataset.points);

    function tell(reader, index) {
      const all = points(reader);
      const one = all[Math.max(0, Math.min(all.length - 1, index))];
      const line = reader.querySelector(".at");
      reader.told = all.indexOf(one);
      line.setAttribute("visibility", "visible");
      line.setAttribute("x1", one.x);
      line.setAttribute("x2", one.x);
      reader.setAttribute("aria-valuenow", reader.told);
      reader.setAttribute("aria-valuetext", one.words);
      reader.closest("figure").querySelector("output").textContent = one.words;
    }
    const hideOthers = (reader) => {
      for (const line of box.querySelectorAll(".reader .at")) if (!reader?.contains(line)) line.setAttribute("visibility", "hidden");
    };

    function under(event) {
      const reader = event.target.closest?.(".reader");
      hideOthers(reader ?? document.activeElement.closest(".reader"));
      if (!reader) return;
      const plot = reader.firstElementChild;
      const x = (event.clientX - plot.getBoundingClientRect().left) * (plot.viewBox.baseVal.width / plot.clientWidth);
      const all = points(reader);
      tell(reader, all.indexOf(all.reduce((best, one) => (Math.abs(one.x - x) < Math.abs(best.x - x) ? one : best))));
    }
    box.addEventListener("pointermove", under);
    box.addEventListener("pointerdown", under); // a finger that taps never moves

    box.addEventListener("focusin", (event) => {
      const reader = event.target.closest(".reader");
      if (!reader?.matches(":focus-visible")) return; // a click has told its own point
      hideOthers(reader);
      tell(reader, Number(reader.getAttribute("aria-valuenow")));
    });
    box.addEventListener("keydown", (event) => {
      const reader = event.target.closest(".reader");
      if (!reader) return;
      const at = Number(reader.getAttribute("aria-valuenow")), last = points(reader).length - 1;
      const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: last, PageDown: at - 10, PageUp: at + 10 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      tell(reader, to);
    });

    /* After the plots were drawn anew: what was read out stands at its place. */
    return () => {
      for (const reader of box.querySelectorAll(".reader:has(.at[visibility=visible])")) tell(reader, reader.told);
    };
  };
})();
