/* One message as elements. Knows how a row looks and which buttons it has, not where rows come from. */
(() => {
  const R = window.ruminate;
  const { el, say, icon } = R;
  const LONG = 4000; // characters of a message from which on it is shown folded
  const LONG_LINES = 40;

  /* The thought of an answer; its text is put into the page only once somebody looks. */
  R.thoughtBlock = () => {
    const text = document.createTextNode("");
    const label = el("span.thought-label");
    const body = el("div.thought-text", { tabindex: "0", dir: "auto" }, text);
    const block = el("details.thought", {}, el("summary", {}, icon("chevron"), label), body);
    block.pending = "";
    block.touched = false;
    block.querySelector("summary").addEventListener("click", () => { block.touched = true; });
    block.addEventListener("toggle", () => block.flush());
    block.flush = () => {
      if (!block.open || block.pending.length === text.length) return;
      const atEnd = body.scrollTop + body.clientHeight > body.scrollHeight - 40;
      if (block.pending.startsWith(text.data)) text.appendData(block.pending.slice(text.length));
      else text.data = block.pending;
      if (atEnd && block.classList.contains("running")) body.scrollTop = body.scrollHeight;
    };
    block.write = (thought) => { block.pending = thought; block.hidden = !thought && !block.classList.contains("running"); block.flush(); };
    block.say = (words) => { label.textContent = words; };
    return block;
  };

  /* How the closed thought is called: "Thought for 4 s, 312 tokens", with what is known of it. */
  R.thoughtTitle = (seconds, tokens) => {
    const parts = [seconds === null || seconds === undefined ? say("thought_plain") : say("thought_for", { seconds: R.duration(seconds) })];
    if (tokens) parts.push(say("tokens", { n: tokens }));
    return parts.join(", ");
  };

  R.showThought = (block) => { block.open = R.recall("thoughts", "collapsed") === "open"; };

  R.userRow = (row) => {
    const node = el("article.row.user", { "data-id": row.id ?? "", "aria-label": say("you_said") },
      el("div.bubble", { dir: "auto" }, ...(row.files ?? []).map(R.fileBlock), ...(row.pictures ?? []).map(R.pictureBlock), ...words(row.text)),
      el("div.acts", {},
        R.button("edit", say("edit"), null, { "data-do": "edit" }),
        R.button("copy", say("copy"), null, { "data-do": "copy" }),
        stepper(row.branch)));
    node.raw = row.text;
    node.files = row.files ?? [];
    node.pictures = row.pictures ?? [];
    return node;
  };

  /* What neither a person nor a model wrote, in a conversation that a program began: instructions, a tool's result. */
  R.asideRow = (row) => {
    const name = say(row.role === "tool" ? "tool_result" : "instructions");
    const node = el("article.row.aside", { "data-id": row.id, "aria-label": name }, R.fileBlock({ name, text: row.text }));
    node.raw = row.text;
    return node;
  };

  /* What somebody wrote; of something very long the beginning, until one asks for all of it. */
  function words(text) {
    if (text.length < LONG && text.split("\n").length < LONG_LINES) return [text];
    const body = el("div.folded", {}, text);
    const more = el("button.text-button", { type: "button", "aria-expanded": "false", onclick: () => {
      const open = !body.classList.toggle("folded");
      more.textContent = say(open ? "show_less" : "show_all");
      more.setAttribute("aria-expanded", String(open));
    } }, say("show_all"));
    return [body, more];
  }

  /* What every answer has, put into `node`: its thought, its words, a note on how it ended, its buttons. */
  R.answerBody = (node) => {
    const parts = { thought: R.thoughtBlock(), body: el("div.md", { dir: "auto" }), note: el("p.note", { hidden: true }), acts: el("div.acts", { hidden: true }) };
    node.append(...Object.values(parts));
    return Object.assign(node, parts);
  };

  R.answerRow = (row) => {
    const node = R.answerBody(el("article.row.assistant", { "data-id": row.id ?? "", "aria-label": say("answer_from") }));
    node.raw = row.text ?? "";
    return node;
  };

  /* A row that is complete: from the record, or just ended. */
  R.finishRow = (node, row) => {
    node.dataset.id = row.id ?? "";
    node.dataset.generation = row.generation ?? "";
    node.raw = row.text;
    node.thought.classList.remove("running");
    node.thought.write(row.thought);
    node.thought.say(R.thoughtTitle(row.seconds, row.thought_tokens));
    const note = R.noteFor(row);
    node.note.hidden = !note;
    node.note.classList.toggle("failed", Boolean(row.error));
    node.note.replaceChildren(note ?? "");
    if (!row.text || row.error || row.ending === "interrupted" || row.ending === "error") node.note.append(" ", way("again", "try_again"));
    if (!row.text && row.thought) node.note.append(" ", way("unthought", "answer_at_once"));
    const checkpoint = (row.model || "").replace(/^ruminate-/, "");
    node.acts.hidden = false;
    node.acts.replaceChildren(...[
      row.text ? R.button("copy", say("copy"), null, { "data-do": "copy" }) : null,
      R.button("again", say("again"), null, { "data-do": "again" }),
      row.generation && !row.error ? R.button("up", say("good"), null, { "data-do": "good", "aria-pressed": String(row.rating === 1) }) : null,
      row.generation && !row.error ? R.button("down", say("bad"), null, { "data-do": "bad", "aria-pressed": String(row.rating === -1) }) : null,
      row.generation && row.text && row.thought && !row.error && ["complete", "stop"].includes(row.ending) ? R.keepButton(row.kept) : null,
      stepper(row.branch),
      row.chosen ? el("span.chosen", {}, say("chosen")) : null,
      row.model ? el("a.by", { href: `?checkpoint=${encodeURIComponent(checkpoint)}`, title: say("checkpoint_title", { name: checkpoint }) }, row.model) : null,
    ].filter(Boolean));
    R.labelCode(node);
  };

  const way = (act, words) => el("button.text-button", { type: "button", "data-do": act }, say(words));

  /* Why an answer looks unfinished, in a sentence; null where it does not. */
  R.noteFor = (row) => {
    if (row.error) return R.sentence(row.error);
    if (row.ending === "stopped") return say(row.text ? "stopped" : "stopped_thought");
    if (row.ending === "interrupted" || row.ending === "error") return say("interrupted");
    if (row.ending === "truncated_thought" || (row.ending === "length" && !row.text)) return say("length_thought");
    if (row.ending === "truncated_response" || row.ending === "length") return say("length");
    return row.text ? null : say("empty");
  };

  R.labelCode = (node) => {
    for (const button of node.querySelectorAll("[data-do=copy-code]:empty")) button.textContent = say("copy");
  };

  function stepper(branch) {
    if (!branch || branch[1] < 2) return null;
    const [at, of] = branch;
    return el("span.stepper", {},
      R.button("left", say("previous"), null, { "data-do": "back", disabled: at === 1 }),
      el("span", {}, `${at}/${of}`),
      R.button("right", say("next"), null, { "data-do": "forth", disabled: at === of }));
  }
  R.stepper = stepper;
})();
