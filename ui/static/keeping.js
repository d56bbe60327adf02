/* Keeping an eye on an answer, for admins: the gate asks for it again, and holds back a version that does worse. */
(() => {
  const R = window.ruminate;
  const { say } = R;
  const KINDS = { good: say("keep_good"), never: say("keep_never") };

  const label = (kind) => (kind ? say("keep_now", { kind: KINDS[kind] }) : say("keep"));

  /* The button under an answer. `kind`: as what it is kept already, if it is. */
  R.keepButton = (kind) => R.button("eye", label(kind), null, { "data-do": "keep", "data-kind": kind ?? "", "aria-pressed": String(Boolean(kind)) });

  R.keep = async (button, row) => {
    const { kind } = button.dataset;
    const choices = [["good", KINDS.good, say("keep_good_more")], ["never", KINDS.never, say("keep_never_more")]];
    if (kind) choices.push(["", say("keep_drop"), say("keep_drop_more")]);
    const wish = await R.confirm({ title: say("keep"), text: say("keep_ask"), choices, value: kind || "good" });
    if (wish === null || wish === kind) return;
    R.send("act", { do: "keep", id: row.dataset.id, generation: row.dataset.generation, kind: wish });
  };

  R.parts.push((page) => {
    R.on("me", (value) => {
      if ("admin" in value) document.body.classList.toggle("admin", value.admin);
      if (!value.kept) return;
      const { generation, kind } = value.kept;
      const button = page.querySelector(`.row[data-generation="${CSS.escape(generation)}"] [data-do=keep]`);
      if (!button) return; // another conversation is shown by now
      button.dataset.kind = kind ?? "";
      button.setAttribute("aria-pressed", String(Boolean(kind)));
      button.setAttribute("aria-label", label(kind));
      button.title = label(kind);
    });
  });
})();
