/* One answer that grows on the page. A frame touches what is new in it and nothing else. */
(() => {
  const R = window.ruminate;
  const { el, say } = R;

  /* `node` has thought and body as R.answerBody makes them. `quiet`: announce nothing, for there are two. */
  R.growing = (node, quiet = false) => {
    const { thought, body } = node;
    const wait = el("p.waiting", {}, say("waiting"));
    let clock = null;
    let blocks = 0;
    const open = []; // the pieces of the open end, as elements, and as the HTML that is drawn in them
    let drawn = [];
    let code = null; // code whose fence is open: {block, text, rest, parts, drawn}
    let last = null;
    thought.hidden = true;
    thought.before(wait);

    function tick() {
      if (clock === null) return;
      const seconds = (performance.now() - clock) / 1000;
      thought.say(`${say("thinking")} · ${R.duration(Math.floor(seconds * 10) / 10)}`);
      setTimeout(tick, 100);
    }

    function close(value) {
      clock = null;
      thought.classList.remove("running");
      thought.say(R.thoughtTitle(value.seconds, value.thought_tokens));
      if (!thought.touched) R.showThought(thought);
    }

    /* A block that stands. What was drawn of it while it was open becomes it, where it is: what is moved loses a selection. */
    function finished(html) {
      const block = code?.block ?? open.shift() ?? el("div.block");
      if (code) {
        for (const part of [...code.text.children]) part.replaceWith(...part.childNodes);
        code.text.normalize();
        code = null;
      }
      drawn.shift();
      block.classList.remove("tail");
      if (!block.isConnected) body.append(block);
      R.morph(block, html);
      R.labelCode(block);
    }

    /* The open end, in pieces. */
    function grow(wanted) {
      while (open.length > wanted.length) open.pop().remove();
      wanted.forEach((html, index) => {
        if (drawn[index] === html) return;
        if (!open[index]) { open[index] = el("div.block.tail"); body.append(open[index]); }
        R.morph(open[index], html);
        R.labelCode(open[index]);
      });
      drawn = [...wanted];
    }

    function growCode(wanted) {
      if (!wanted) { code?.block.remove(); code = null; return; }
      if (!code) {
        const rest = el("span");
        const text = el("code", {}, rest);
        const figure = el("figure.code", { dir: "ltr" }, el("figcaption", {}, el("span", {}, wanted.language), el("button", { type: "button", "data-do": "copy-code" }, say("copy"))), el("pre", { tabindex: "0" }, text));
        code = { block: el("div.block", {}, figure), text, rest, parts: 0, drawn: "" };
        body.append(code.block);
      }
      for (; code.parts < wanted.parts.length; code.parts++) {
        R.morph(code.rest, wanted.parts[code.parts]); // what was the rest begins the part
        code.rest = el("span");
        code.text.append(code.rest);
        code.drawn = "";
      }
      if (code.drawn !== wanted.rest) { R.morph(code.rest, wanted.rest); code.drawn = wanted.rest; }
    }

    return {
      node,
      last: () => last,
      take(value) {
        last = value;
        if (value.phase !== "waiting") wait.remove();
        if (value.phase === "thinking" && clock === null) {
          clock = performance.now() - (value.elapsed ?? 0) * 1000;
          thought.classList.add("running");
          thought.hidden = false;
          thought.open = true;
          tick();
          if (!quiet) R.announce(say("thinking"));
        }
        if (value.thought) thought.write(value.thought);
        if (value.phase !== "thinking" && clock !== null) close(value);
        for (; blocks < value.blocks.length; blocks++) finished(value.blocks[blocks]);
        grow(value.tail);
        growCode(value.code);
      },
      end() {
        wait.remove();
        clock = null;
        if (last?.thought && !thought.touched) R.showThought(thought);
      },
    };
  };
})();
