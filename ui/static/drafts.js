/* What is written and not yet sent, files and all: kept by conversation in this tab alone, so that a reload or a look elsewhere loses nothing. */
(() => {
  const R = window.ruminate;
  const put = (name, value) => {
    try {
      if (value) sessionStorage.setItem(name, value);
      else sessionStorage.removeItem(name);
      return true;
    } catch { return false; } // the browser forbids it, or it is full
  };
  const read = (name) => { try { return JSON.parse(sessionStorage.getItem(name)) ?? {}; } catch { return {}; } };
  const draftOf = (place) => "ruminate-draft-" + place;
  const editOf = (place) => "ruminate-edit-" + place;
  const has = (draft) => Boolean(draft.text || draft.files?.length || draft.pictures?.length);
  const whole = (draft) => JSON.stringify([draft.text ?? "", draft.files ?? [], draft.pictures ?? []]);
  function store(place, draft) {
    if (!has(draft)) put(draftOf(place), "");
    else if (!put(draftOf(place), JSON.stringify(draft))) put(draftOf(place), JSON.stringify({ text: draft.text })); // pictures are large
  }

  R.forgetAll = () => {
    try { sessionStorage.clear(); } catch { /* nothing was kept */ }
    for (const forget of R.forgets) forget();
  };

  R.parts.push((page) => {
    const box = page.querySelector("#message");
    let sent = null; // what was sent last: {place, draft}
    let edit = null; // where an edit was sent that nothing is heard of yet

    const written = () => ({ text: box.value, ...R.files() });
    const show = (draft) => { box.value = draft.text ?? ""; R.setFiles(draft); };
    R.keepDraft = () => store(R.place(), written());
    box.addEventListener("input", R.keepDraft);

    let first = true;
    R.turns.push(() => {
      if (!first || !has(written())) show(read(draftOf(R.place())));
      first = false;
    });

    /* A message stays a draft until the server has answered with a first sign of having it. */
    R.draftSent = () => {
      sent = { place: R.place(), draft: written() };
      R.keepDraft();
      show({});
    };
    R.draftArrived = () => {
      if (sent && !sent.arrived && whole(read(draftOf(sent.place))) === whole(sent.draft)) store(sent.place, {});
      if (sent) sent.arrived = true;
      if (edit !== null) put(editOf(edit), "");
      edit = null;
    };
    /* It was not taken: back into the box, unless something else stands there by now. `over`: what is heard from now on is of another. */
    R.draftBack = (over = false) => {
      if (sent && !has(written())) show(sent.draft);
      R.keepDraft();
      if (over) { sent = null; edit = null; }
    };
    /* It is sent again from where it stands: out of the box, if it still is what is there. */
    R.draftAgain = () => { if (sent && whole(written()) === whole(sent.draft)) R.draftSent(); };
    R.draftAdopted = (conversation) => {
      put(draftOf(""), "");
      if (edit === "") edit = conversation;
      if (sent?.place === "") sent.place = conversation;
      store(conversation, written());
    };
    R.forgets.push(() => { sent = null; edit = null; show({}); });
    R.on("me", (value) => {
      if (!value.forgotten) return;
      const wish = R.place() ? "" : R.chatConsent(); // of what is written next: that is no data yet
      R.forgetAll();
      if (wish) R.setChatConsent(wish);
    });

    // -- the edit of an earlier message

    R.keepEdit = (index, text) => put(editOf(R.place()), text === null ? "" : JSON.stringify({ index, text }));
    R.editSent = () => { edit = R.place(); };
    R.editAgain = () => {
      const { index, text } = read(editOf(R.place()));
      const row = page.querySelector("#rows").children[index];
      if (row?.classList.contains("user")) R.editRow(row, index, text);
    };
  });
})();
