/* Two answers side by side, without names, and the choice between them. */
(() => {
  const R = window.ruminate;
  const { el, say } = R;

  R.pairRow = () => {
    const side = (name) => R.answerBody(el("section.side-answer", { "aria-label": say(name), tabindex: "0" }, el("h3", {}, say(name))));
    const sides = [side("answer_left"), side("answer_right")];
    const pick = (choice, words, cls = "plain") => el(`button.${cls}`, { type: "button", "data-choice": choice }, say(words));
    const choose = el("div.choose", { role: "group", "aria-label": say("choose"), hidden: true },
      el("p", {}, say("choose")),
      el("div.choose-acts", {}, pick("left", "choose_left"), pick("tie", "choose_tie"), pick("right", "choose_right"), pick("skip", "choose_skip", "text-button")));
    const node = el("article.row.pair", { "aria-label": say("compare") }, el("div.columns", {}, ...sides), choose);
    return Object.assign(node, { sides, choose });
  };

  /* Both have ended: let somebody choose. `ends`: the last frame of each. */
  R.openChoice = (node, ends) => {
    const since = performance.now();
    node.classList.add("choosing");
    ends.forEach((last, index) => {
      const side = node.sides[index];
      side.thought.say(R.thoughtTitle(last.seconds, last.thought_tokens));
      const note = R.noteFor({ ending: last.finish, text: "…" });
      side.note.hidden = !note;
      side.note.textContent = note ?? "";
      R.labelCode(side);
    });
    node.choose.hidden = false;
    node.choose.addEventListener("click", (event) => {
      const choice = event.target.closest("[data-choice]")?.dataset.choice;
      if (!choice || performance.now() < node.chosenUntil) return; // pressed twice, it still is one choice
      node.chosenUntil = performance.now() + R.patience;
      const beside = node.sides[0].getBoundingClientRect().top === node.sides[1].getBoundingClientRect().top;
      R.send("act", { do: "choose", choice, shown: {
        thoughts: R.recall("thoughts", "collapsed"),
        opened: node.sides.map((one) => one.thought.open),
        layout: beside ? "beside" : "below",
        width: innerWidth,
        seconds: Math.round((performance.now() - since) / 100) / 10,
      } });
    });
    R.announce(say("choose"));
  };

  /* What was chosen is not taken, and the sentence says why: now it can be chosen again. */
  R.on("me", () => { const open = document.querySelector(".pair.choosing"); if (open) open.chosenUntil = 0; });

  /* Whether a choice is open; then it is brought into sight, for nothing goes on without it. */
  R.mustChoose = () => {
    const open = document.querySelector(".pair.choosing");
    if (!open) return false;
    open.choose.scrollIntoView({ block: "nearest" });
    open.choose.querySelector("button").focus();
    R.toast(say("choose_first"));
    return true;
  };
})();
