/* What the keyboard does everywhere on the page, and the list of it. */
(() => {
  const R = window.ruminate;
  const { el, say, button } = R;

  R.parts.push((page) => {
    const box = page.querySelector("#message");
    const wide = () => !document.querySelector("dialog[open]");
    const held = (event) => event.ctrlKey || event.metaKey;
    const shortcuts = [
      { keys: ["Enter"], words: "send" },
      { keys: ["Shift", "Enter"], words: "keys_line" },
      { keys: ["↑"], words: "keys_edit" },
      { keys: ["Esc"], words: "keys_stop" },
      { keys: ["Ctrl", "K"], words: "search", on: (event) => held(event) && !event.shiftKey && event.key.toLowerCase() === "k",
        run: () => { R.openSide(true); page.querySelector("#search").focus(); } },
      { keys: ["Ctrl", "Shift", "O"], words: "new", on: (event) => held(event) && event.shiftKey && event.key.toLowerCase() === "o",
        run: () => R.newChat() },
      { keys: ["Ctrl", "Shift", "S"], words: "keys_side", on: (event) => held(event) && event.shiftKey && event.key.toLowerCase() === "s",
        run: () => R.openSide() },
      { keys: ["Ctrl", "/"], words: "keys_list", on: (event) => held(event) && event.key === "/", run: () => R.openKeys() },
    ];
    document.addEventListener("keydown", (event) => {
      if (!wide() || R.composing(event)) return;
      const found = shortcuts.find((one) => one.on?.(event));
      if (found) { event.preventDefault(); found.run(); return; }
      if (event.key === "Escape" && R.answering()) R.stop();
      /* Whoever begins to write means the box. */
      if (event.key.length === 1 && event.key !== " " && !held(event) && !event.altKey && document.activeElement === document.body && !page.querySelector("#view-chat").hidden) box.focus();
    });

    R.openKeys = () => {
      const dialog = el("dialog.keys", { "aria-label": say("keys") },
        el("div.dialog-head", {}, el("h2", {}, say("keys")), button("close", say("close"), () => dialog.close())),
        el("dl", {}, ...shortcuts.flatMap((one) => [
          el("dt", {}, ...one.keys.map((key) => el("kbd", {}, key))), el("dd", {}, say(one.words))])));
      dialog.addEventListener("close", () => dialog.remove());
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
      page.append(dialog);
      dialog.showModal();
    };
  });
})();
