/* Which branch of a conversation is shown: remembered in this browser once somebody has stepped to one, until an answer is added. */
(() => {
  const R = window.ruminate;
  const REMEMBERED = 200; // conversations

  let kept = {};
  const read = () => { try { kept = JSON.parse(R.recall("branches", JSON.stringify(kept))); } catch { /* written by something else */ } };
  read();
  R.forgets.push(() => { kept = {}; R.remember("branches", "{}"); });
  const save = (conversation, tip) => {
    read(); // other tabs write too
    delete kept[conversation];
    if (tip) kept[conversation] = tip;
    for (const name of Object.keys(kept).slice(0, -REMEMBERED)) delete kept[name];
    R.remember("branches", JSON.stringify(kept));
  };

  /* The end of the path on the page, by its answer's id, or by its own. */
  R.shownTip = () => {
    const last = [...document.querySelectorAll("#rows > .row:not(.refused)")].at(-1);
    return last?.dataset.generation || last?.dataset.id || "";
  };
  R.keptTip = (conversation) => kept[conversation] ?? "";
  R.tip = (conversation) => (conversation === R.place() && !R.loading() ? R.shownTip() : R.keptTip(conversation));
  R.branchChosen = () => { if (R.place()) save(R.place(), R.shownTip()); };
  R.branchGrown = () => { if (kept[R.place()]) save(R.place(), ""); };
})();
