/* Whether the page's server can be reached. A bar tells when it can't; once it can again, the page comes back as the record has it. */
(() => {
  const R = window.ruminate;
  const ASK_MS = 3000;
  const MISSES = 2; // one may be a hiccup

  R.parts.push((page) => {
    const bar = page.querySelector("#lost");
    let missed = 0;

    async function look() {
      const reached = await fetch("health", { cache: "no-store" }).then((reply) => reply.ok, () => false);
      if (!reached) { missed += 1; if (missed >= MISSES) bar.hidden = false; return; }
      missed = 0;
      if (!bar.hidden) back();
    }
    /* What is recorded is loaded anew, and an answer that went on is there; what is kept nowhere must not be thrown away. */
    function back() {
      bar.hidden = true;
      if (R.place() || R.loading() || !page.querySelector(".row")) location.reload();
      else R.giveUp();
    }
    R.isLost = () => !bar.hidden;
    /* A page whose server died would wait for ever: while it waits for anything, ask now and then whether it is there. */
    const watching = () => document.visibilityState === "visible" && !page.querySelector("#view-training").hidden;
    setInterval(() => { if (R.answering() || R.loading() || missed > 0 || watching()) look(); }, ASK_MS);
    /* The browser's network may be gone and the page's server still be there: on this machine, or across a second wire. */
    addEventListener("offline", () => { missed = MISSES - 1; look(); });
    addEventListener("online", look);
  });
})();
