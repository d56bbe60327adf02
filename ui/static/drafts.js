/* What is written and not yet sent: kept by conversation in this tab alone, so that a reload or a look elsewhere loses nothing. */
(() => {
  const R = window.ruminate;
  const name = (place) => "ruminate-draft-" + place;
  const store = (place, text) => {
    try {
      if (text) sessionStorage.setItem(name(place), text);
      else sessionStorage.removeItem(name(place));
    } catch { /* the browser forbids it, or it is full: then a reload forgets the draft */ }
  };
  const stored = (place) => { try { return sessionStorage.getItem(name(place)) ?? ""; } catch { return ""; } };

  R.forgetDrafts = () => { try { sessionStorage.clear(); } catch { /* nothing was kept */ } };

  R.parts.push((page) => {
    const box = page.querySelector("#message");
    let at = null; // the conversation whose draft is in the box; null before the first is shown
    let sent = null; // what was sent and not yet heard of: {place, text}

    const show = (text) => { box.value = text; R.composerReady(); };
    box.addEventListener("input", () => { at = R.place(); store(at, box.value); });
    R.on("transcript", (value) => {
      if (value.keep > 0 || R.place() === at) return;
      const first = at === null;
      at = R.place();
      if (!first || !box.value) show(stored(at));
    });
    /* A message stays a draft until the server has answered with a first sign of having it. */
    R.draftSent = (text) => { sent = { place: R.place(), text }; };
    R.draftArrived = (refused) => {
      if (!sent) return;
      const { place, text } = sent;
      sent = null;
      if (stored(place) === text) store(place, "");
      if (refused && !box.value) { at = R.place(); store(at, text); show(text); }
    };
    R.draftAdopted = (conversation) => {
      if (at !== "") return;
      at = conversation;
      store("", "");
      store(at, box.value);
    };
  });
})();
