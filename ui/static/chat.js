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

    function keep(count) {
      while (rows.children.length > count) rows.lastElementChild.remove();
      welcome.hidden = count > 0;
    }

    /* Start an answer at once, before the server has said a word. */
    R.ask = (request) => {
      if (R.mustChoose()) return;
      if (R.isLost()) { R.toast(say("lost")); return; } // an edit stays open, with its words
      const index = request.index ?? rows.children.length;
      const key = request.key ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
      const options = R.options();
      const { kept, ...asked } = request; // files of a message that is edited are at the server already
      const user = request.text === undefined ? null : { text: request.text, files: request.files, pictures: request.pictures, id: "" };
      if (kept) { delete asked.files; delete asked.pictures; }
      begin({ key, index, user, pair: options.compare !== "" });
      R.send("answer", { ...asked, ...options, key, conversation: R.place(), consent: R.chatConsent() });
    };

    function begin(start) {
      if (live) settle();
      keep(start.index);
      if (start.user) rows.append(R.userRow(start.user));
      const node = start.pair ? R.pairRow() : R.answerRow({});
      node.classList.add("live");
      rows.append(node);
      welcome.hidden = true;
      live = { key: start.key, node, parts: (node.sides ?? [node]).map((one) => R.growing(one, Boolean(node.sides))), last: null };
      busy(true);
      following = true;
      follow();
      R.announce(say("waiting"));
    }

    function frame(value) {
      if (!value.key) return;
      R.draftArrived(value.phase === "failed" && !value.user && !value.thought && !value.blocks?.length);
      if (live?.key !== value.key) {
        if (value.phase === "settled" || rows.querySelector(`[data-key="${CSS.escape(value.key)}"]`)) return;
        begin({ key: value.key, index: value.index, user: value.user, pair: Boolean(value.pair) });
      }
      live.node.dataset.key = value.key;
      live.last = value;
      const wasFollowing = following;
      if (value.pair) live.parts.forEach((part, index) => part.take(value.pair[index]));
      else if (live.parts.length === 1) live.parts[0].take(value);
      if (value.conversation && value.conversation !== R.place()) R.adopt(value.conversation);
      if (value.settled) settle();
      following = wasFollowing;
      follow();
    }

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
      R.announce(settled.row?.error ?? settled.row?.text.slice(0, 200) ?? "");
    }

    function show(value) {
      if (live && value.keep <= [...rows.children].indexOf(live.node)) { live.node.remove(); live = null; busy(false); }
      keep(value.keep);
      for (const row of value.rows) {
        if (row.role === "user") { rows.append(R.userRow(row)); continue; }
        const node = R.answerRow(row);
        node.body.innerHTML = row.html;
        R.finishRow(node, row);
        R.showThought(node.thought);
        rows.append(node);
      }
      welcome.hidden = rows.children.length > 0 || Boolean(value.attach);
      if (value.keep === 0) { following = true; requestAnimationFrame(follow); }
      if (value.attach) R.send("answer", { do: "attach", conversation: R.place() });
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
      again: (button, row) => { if (!live) R.ask({ do: "again", id: row.dataset.id, index: indexOf(row) }); },
      back: (button, row) => { if (!live) R.send("act", { do: "step", id: row.dataset.id, by: -1 }); },
      forth: (button, row) => { if (!live) R.send("act", { do: "step", id: row.dataset.id, by: 1 }); },
      good: (button, row) => R.rate(button, row, 1),
      bad: (button, row) => R.rate(button, row, -1),
      keep: (button, row) => R.keep(button, row),
      edit: (button, row) => R.editRow(row, indexOf(row)),
    };
  });
})();
