/* The conversation on the page: rows from the record, and one answer that grows. A frame touches only the last row. */
(() => {
  const R = window.ruminate;
  const { el, say } = R;
  const NEAR_END = 80; // pixels from the end within which the page follows the answer

  R.parts.push((page) => {
    const scroller = page.querySelector("#scroll");
    const rows = page.querySelector("#rows");
    const welcome = page.querySelector("#welcome");
    const toEnd = page.querySelector("#to-end");
    let live = null; // the answer in the making: {key, node, parts (two where two are compared), last}
    let following = true;

    const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
    const follow = () => { if (following) scroller.scrollTop = scroller.scrollHeight; };
    scroller.addEventListener("scroll", () => { following = atEnd(); toEnd.hidden = following; }, { passive: true });
    toEnd.addEventListener("click", () => { following = true; follow(); });

    const busy = (on) => { document.body.classList.toggle("answering", on); };
    R.answering = () => live !== null;

    /* Take the rows from position `count` away; gives them. */
    function keep(count) {
      const away = [...rows.children].slice(count);
      for (const row of away) row.remove();
      welcome.hidden = count > 0;
      return away;
    }
    function dropRefused() { for (const row of rows.querySelectorAll(":scope > .refused")) row.remove(); }

    /* Start an answer at once, before the server has said a word. */
    R.ask = (request) => {
      if (R.lost()) { R.toast(R.lost()); return; } // an edit stays open, with its words
      if (R.mustChoose() || R.loading()) return;
      dropRefused();
      const before = words();
      const index = request.index ?? rows.children.length;
      const key = R.newName();
      const options = R.options();
      const { kept, retried, ...asked } = request; // files of a message that is edited are at the server already
      const pictures = request.pictures;
      const user = request.text === undefined ? null : { text: request.text, files: request.files, pictures, id: "" };
      if (kept) { delete asked.files; delete asked.pictures; }
      begin({ key, index, user, pair: options.compare !== "", request, before });
      R.send("answer", { ...options, ...asked, key, consent: R.chatConsent() });
      lookAfter(key, R.patience);
    };
    /* Nothing is heard of what was asked: it is lost, or the answer to it. The server shows what it has, or says that it has nothing. */
    function lookAfter(key, patience) {
      setTimeout(() => {
        if (live?.key !== key || live.last) return;
        R.send("answer", { do: "attach", key });
        lookAfter(key, 2 * patience);
      }, patience);
    }
    /* What is stopped before anything is heard of it must not be sent again; it comes back into the box. */
    R.stop = () => {
      if (live?.request && !live.last) live.request = { ...live.request, retried: true };
      R.send("halt");
    };
    const words = () => [...rows.children].map((row) => row.raw ?? "");

    function begin(start) {
      if (live) settle();
      const removed = keep(start.index);
      const user = start.user ? R.userRow(start.user) : null;
      if (user) rows.append(user);
      const node = start.pair ? R.pairRow() : R.answerRow({});
      node.classList.add("live");
      rows.append(node);
      welcome.hidden = true;
      const parts = (node.sides ?? [node]).map((one) => R.growing(one, Boolean(node.sides)));
      live = { key: start.key, node, user, removed, parts, request: start.request, before: start.before, last: null };
      busy(true);
      following = true;
      follow();
      R.announce(say("waiting"));
    }

    function frame(value) {
      if (value.stale || value.refused) { notTaken(value); return; }
      if (!value.key) return;
      R.draftArrived();
      if (live?.key !== value.key) {
        if (rows.querySelector(`[data-key="${CSS.escape(value.key)}"]`)) return;
        begin({ key: value.key, index: value.index, user: value.user, pair: Boolean(value.pair) });
      }
      live.node.dataset.key = value.key;
      live.last = value;
      const wasFollowing = following;
      if (value.pair) live.parts.forEach((part, index) => part.take(value.pair[index]));
      else if (live.parts.length === 1) live.parts[0].take(value);
      if (value.conversation && value.conversation !== R.place()) R.adopt(value.conversation);
      if (value.settled) { settle(); R.branchGrown(); }
      if (value.need_key) { R.draftBack(); R.needKey(); }
      following = wasFollowing;
      follow();
    }

    // -- what the server did not take

    let again = null; // what is sent once the conversation has been read anew: {request, before}

    function notTaken(value) {
      if (value.key && live?.key !== value.key) return;
      if (!live?.request) { R.reopen(); return; } // an answer was to be watched that has ended since
      const { request, before } = live;
      if (value.refused) {
        if (request.do === "send") refuse(request, value.refused);
        else { undo(); R.toast(value.refused); }
        R.draftBack();
        if (value.need_key) R.needKey();
        return;
      }
      undo();
      if (!R.place() && before.length) { R.draftBack(); R.toast(say("gone_unkept")); return; } // nobody has it any more
      R.reopen();
      again = { request, before };
    }

    /* As it was before something was asked. */
    function undo() {
      for (const part of live.parts) part.end();
      live.node.remove();
      live.user?.remove();
      rows.append(...live.removed);
      live = null;
      busy(false);
      welcome.hidden = rows.children.length > 0;
    }

    /* A message that was refused stands there with the reason, until it is sent again or another is. */
    function refuse(request, sentence) {
      const { user } = live;
      undo();
      const node = R.answerRow({});
      R.finishRow(node, { text: "", thought: "", error: sentence });
      for (const row of [user, node]) { row.classList.add("refused"); rows.append(row); }
      node.request = request;
      welcome.hidden = true;
      follow();
    }

    /* The conversation was read anew: a message goes to it if it is still what stood there. */
    function sendAgain(failed) {
      const { request, before } = again;
      again = null;
      const unchanged = JSON.stringify(words()) === JSON.stringify(before);
      if (!failed && unchanged && request.do === "send" && !request.retried) {
        R.draftAgain();
        R.ask({ ...request, retried: true });
        return;
      }
      R.draftBack();
      if (!failed) R.toast(say("gone"));
    }

    /* The page turns to another conversation: what comes of this one is for nobody here. Its rows stay until the others are there. */
    R.turns.push(() => {
      again = null;
      for (const part of live?.parts ?? []) part.end();
      live = null;
      busy(false);
      rows.inert = true;
    });

    /* The answer has ended: give its row what a finished one has. Two of them wait for a choice. */
    function settle() {
      const { node, parts, last } = live;
      for (const part of parts) part.end();
      node.classList.remove("live");
      live = null;
      busy(false);
      const settled = last?.settled;
      if (!settled) return;
      const before = node.previousElementSibling;
      if (before?.classList.contains("user") && settled.user) before.replaceWith(R.userRow(settled.user));
      if (settled.choose) R.openChoice(node, last.pair);
      else if (settled.rows) show({ keep: settled.position, rows: settled.rows });
      else if (node.sides) { const single = R.answerRow({}); node.replaceWith(single); R.finishRow(single, settled.row); }
      else R.finishRow(node, settled.row);
      if (settled.row) R.announce([settled.row.text.slice(0, 200), R.noteFor(settled.row)].filter(Boolean).join(" "));
    }

    function show(value) {
      if (value.stale) return;
      if (value.away) { if (again) sendAgain(true); return; } // what stands there stays until the gateway is back
      if (live && value.keep <= [...rows.children].indexOf(live.node)) { live = null; busy(false); }
      const step = value.turned && document.activeElement.closest(".stepper") && document.activeElement.dataset.do;
      keep(value.keep);
      rows.inert = false;
      for (const row of value.rows) {
        if (row.role !== "assistant") { rows.append(row.role === "user" ? R.userRow(row) : R.asideRow(row)); continue; }
        const node = R.answerRow(row);
        node.body.innerHTML = row.html;
        R.finishRow(node, row);
        R.showThought(node.thought);
        rows.append(node);
      }
      if (step) { // who steps by keyboard goes on from there
        const able = [...rows.children[value.keep].querySelectorAll(".stepper button:enabled")];
        (able.find((one) => one.dataset.do === step) ?? able[0])?.focus();
      }
      welcome.hidden = rows.children.length > 0 || Boolean(value.attach);
      if (value.keep === 0) { following = true; requestAnimationFrame(follow); }
      if (value.turned) R.branchChosen();
      else if (value.keep === 0 && !value.attach) R.editAgain();
      if (value.attach) {
        if (again) { again = null; R.draftBack(true); R.toast(say("gone")); } // an answer to something else is being written
        R.send("answer", { do: "attach" });
      } else if (again) sendAgain(value.failed);
    }

    R.on("transcript", show);
    R.on("live", frame);

    /* The rest of the answer will not come: leave it as it is. */
    R.giveUp = () => {
      if (!live) return;
      const { note } = live.parts[0].node;
      settle();
      note.hidden = false;
      note.classList.add("failed");
      note.textContent = say("interrupted");
    };

    R.applyThoughts = () => {
      const mode = R.recall("thoughts", "collapsed");
      document.documentElement.dataset.thoughts = mode;
      for (const block of rows.querySelectorAll("details.thought:not(.running)")) block.open = mode === "open";
    };
    R.applyThoughts();

    rows.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) actions[button.dataset.do]?.(button, button.closest(".row"));
    });
    const indexOf = (row) => [...rows.children].indexOf(row);

    const actions = {
      copy: (button, row) => R.copy(row.raw, button),
      "copy-code": (button) => R.copy(button.closest("figure").querySelector("code").textContent, button),
      again: (button, row) => {
        if (live) return;
        if (row.request) { R.draftAgain(); R.ask(row.request); } else R.ask({ do: "again", id: row.dataset.id, index: indexOf(row) });
      },
      unthought: (button, row) => { if (!live) R.ask({ do: "again", id: row.dataset.id, index: indexOf(row), think: false }); },
      back: (button, row) => { if (!live) R.send("act", { do: "step", id: row.dataset.id, by: -1 }); },
      forth: (button, row) => { if (!live) R.send("act", { do: "step", id: row.dataset.id, by: 1 }); },
      good: (button, row) => R.rate(button, row, 1),
      bad: (button, row) => R.rate(button, row, -1),
      keep: (button, row) => R.keep(button, row),
      edit: (button, row) => R.editRow(row, indexOf(row)),
    };
  });
})();
