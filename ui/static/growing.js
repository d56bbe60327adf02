/* One answer that grows on the page. A frame touches what is new in it and nothing else. */
(() => {
  const R = window.ruminate;
  const { el, say } = R;

  /* `node` has thought and body as R.answerBody makes them. `quiet`: announce nothing, for there are two. */
  R.growing = (node, quiet = false) => {
    const { thought, body } = node;
    const wait = el("p.waiting", {}, say("waiting"));
    const tail = el("div.tail");
    let clock = null;
    let blocks = 0;
    let drawn = "";
    let last = null;
    thought.hidden = true;
    thought.before(wait);
    body.append(tail);

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
        for (; blocks < value.blocks.length; blocks++) {
          const block = el("div.block");
          block.innerHTML = value.blocks[blocks];
          tail.before(block);
        }
        if (drawn !== value.tail) { tail.innerHTML = value.tail; drawn = value.tail; }
      },
      end() {
        wait.remove();
        clock = null;
        if (last?.thought && !thought.touched) R.showThought(thought);
      },
    };
  };
})();
