/* What the page shows, and its address. Each view of a conversation has a name: what comes under another is not for it. */
(() => {
  const R = window.ruminate;
  R.patience = 10_000; // milliseconds after which a conversation is asked for again; twice as long each time
  const AWAY_MS = 3000; // until one is asked for again that the gateway did not give, for it was away

  /* What the address says: ?c=conversation, ?view=training, ?checkpoint=v3, ?round=2. */
  const read = () => Object.fromEntries(new URLSearchParams(location.search));
  R.view = read;

  let shown = ""; // the chat's conversation, also behind the page about the training; "" has no address, or none yet
  let showing = ""; // this view of it
  let loading = true;
  const homes = {}; // by view: the address that a new conversation got while it was shown
  R.place = () => shown;
  R.showing = () => showing;
  R.loading = () => loading;
  R.turns = []; // called when the chat turns to a conversation, before its rows are there

  /* While a conversation is on its way, the one that is left still stands, and the page says that it goes. */
  function busy(on) {
    loading = on;
    document.getElementById("view-chat").setAttribute("aria-busy", String(on && Boolean(shown)));
  }

  function turn(event, branch = R.keptTip(shown)) {
    busy(true);
    tip = branch;
    ask(event, R.patience);
    for (const listener of R.turns) listener();
  }
  /* What was asked, or the answer to it, may be lost: then once more, for else the page would load for ever. */
  let retry = null;
  let tip = "";
  let known = false; // whether the page has been told whose it is
  R.on("me", (value) => { known ||= "consent" in value; });
  function ask(event, patience) {
    showing = R.newName();
    R.send(event, { tip });
    askAgain(patience, 2 * patience);
  }
  function askAgain(wait, patience) {
    clearTimeout(retry);
    retry = setTimeout(() => {
      if (!loading) return;
      ask(known ? "open" : "boot", patience);
      name();
    }, wait);
  }
  function name() { if (!document.getElementById("view-chat").hidden) history.replaceState({ showing }, "", location.href); }

  /* Read what is shown anew: the server has lost it. */
  R.reopen = () => {
    turn("open", R.shownTip());
    name();
  };
  R.on("transcript", (value) => {
    if (value.stale) { R.reopen(); return; }
    if (value.away) askAgain(AWAY_MS, R.patience);
    else if (value.keep === 0) busy(false);
    R.away(Boolean(value.away));
  });

  R.go = (query, { fresh = false } = {}) => {
    const address = query ? "?" + new URLSearchParams(query) : location.pathname;
    if (address === (location.search || location.pathname)) history.replaceState(history.state, "", address);
    else history.pushState(null, "", address);
    arrive(fresh);
  };
  R.newChat = () => R.go(null, { fresh: true });
  R.backToChat = () => R.go(shown ? { c: shown } : null);
  R.goBack = () => arrive();

  /* The conversation on the page has got its address. */
  R.adopt = (conversation) => {
    homes[showing] = conversation;
    shown = conversation;
    if (!document.getElementById("view-chat").hidden) history.replaceState({ showing }, "", "?" + new URLSearchParams({ c: conversation }));
    R.draftAdopted(conversation);
    R.consentAdopted(conversation);
    R.optionsAdopted(conversation);
    R.markPlace?.();
  };

  function arrive(fresh = false, first = false) {
    const was = history.state?.showing;
    if (!location.search && homes[was] && !fresh) history.replaceState(history.state, "", "?" + new URLSearchParams({ c: homes[was] }));
    const { view, checkpoint, round, c = "" } = read();
    const training = view === "training" || Boolean(checkpoint) || Boolean(round);
    for (const [name, on] of [["chat", !training], ["training", training]]) {
      document.getElementById("view-" + name).hidden = !on;
      document.getElementById("tab-" + name).setAttribute("aria-selected", String(on));
    }
    if (training) R.showTraining();
    else {
      const other = fresh || c !== shown || (c === "" && was && was !== showing);
      shown = c;
      if (other && !first) turn("open");
      history.replaceState({ showing }, "", location.href);
      R.focusComposer?.();
    }
    R.markPlace?.();
    if (matchMedia("(max-width: 800px)").matches) R.openSide(false);
  }

  /* After every other part is there: show what the address says. */
  R.arrive = () => { shown = read().c ?? ""; turn("boot"); arrive(false, true); };
})();
