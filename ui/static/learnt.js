/* Which checkpoints learnt from a conversation: a dialog that says so, with the way to their pages. */
(() => {
  const R = window.ruminate;
  const { el, say, button } = R;

  const part = ({ words, checkpoints }) => [
    el("p", {}, words),
    checkpoints.length ? el("ul.learnt", {}, ...checkpoints.map((one) => el("li", {},
      el("a", { href: `?checkpoint=${encodeURIComponent(one.name)}` }, one.name), ` (${one.words})`))) : null,
  ];

  function show({ conversation, parts }) {
    const dialog = el("dialog", { "aria-label": say("learnt") },
      el("div.dialog-head", {}, el("h2", {}, say("learnt")), button("close", say("close"), () => dialog.close())),
      ...parts.flatMap(part));
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (document.activeElement !== document.body) return;
      document.querySelector(`.item[data-id="${CSS.escape(conversation)}"] button`)?.focus(); // the list was drawn anew meanwhile
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest("a")) dialog.close(); });
    document.getElementById("page").append(dialog);
    dialog.showModal();
  }

  R.parts.push(() => R.on("me", (value) => { if (value.learnt) show(value.learnt); }));
})();
