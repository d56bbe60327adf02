/* Whether the page's server can be reached, and the gateway behind it. A bar tells when not; once both can be again, the
   page comes back as the record has it. */
(() => {
  const R = window.ruminate;
  const { say } = R;
  const ASK_MS = 3000;
  const MISSES = 2; // one may be a hiccup

  R.parts.push((page) => {
    const bar = page.querySelector("#lost");
    let missed = 0;
    let away = false; // whether the page's server did not reach the gateway

    /* What the bar says; "" while there is nothing to say. */
    R.lost = () => (missed >= MISSES ? say("lost") : away ? say("away") : "");
    function tell() {
      const words = R.lost();
      if (words && bar.textContent !== words) bar.textContent = words;
      bar.hidden = !words;
    }
    R.away = (now) => {
      if (away && !now) R.announce(say("back_again"));
      away = now;
      tell();
    };

    async function look() {
      const reached = await fetch("health", { cache: "no-store" }).then((reply) => reply.ok, () => false);
      const lost = missed >= MISSES;
      missed = reached ? 0 : missed + 1;
      tell();
      if (reached && lost) back();
    }
    /* What is recorded is loaded anew, and an answer that went on is there; what is kept nowhere must not be thrown away. */
    function back() {
      if (R.place() || R.loading() || !page.querySelector(".row")) location.reload();
      else R.giveUp();
    }
    /* A page whose server died would wait for ever: while it waits for anything, ask now and then whether it is there. */
    const watching = () => document.visibilityState === "visible" && !page.querySelector("#view-training").hidden;
    setInterval(() => { if (R.answering() || R.loading() || missed > 0 || watching()) look(); }, ASK_MS);
    /* The browser's network may be gone and the page's server still be there: on this machine, or across a second wire. */
    addEventListener("offline", () => { missed = MISSES - 1; look(); });
    addEventListener("online", look);
  });
})();
