/* What every part of the page stands on: words, elements, channels from the server, events to it, the small store.
   A channel is an invisible Gradio component whose value the server sets; here parts subscribe to it by name. */
(() => {
  const channels = {};
  const R = (window.ruminate = {
    words: window.ruminateWords,
    parts: [],

    /* A sentence by its key, braces filled in: `{n} {n|token|tokens}`; ui/words says how more forms are written. */
    say(key, values = {}) {
      const sentence = R.words[key] ?? key;
      return sentence
        .replace(/\{(\w+)((?:\|[^|{}]*)+)\}/g, (whole, name, forms) => formOf(values[name], forms.slice(1).split("|")))
        .replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
    },

    /* An element: el("a.link", {href}, child, …). Properties that begin with "on" are listeners. */
    el(spec, props = {}, ...children) {
      const [tag, ...classes] = spec.split(".");
      const node = document.createElement(tag);
      if (classes.length) node.className = classes.join(" ");
      for (const [name, value] of Object.entries(props)) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
        else node.setAttribute(name, value === true ? "" : value);
      }
      node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
      return node;
    },

    icon(name) {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 24 24");
      svg.setAttribute("aria-hidden", "true");
      svg.classList.add("icon");
      svg.innerHTML = ICONS[name];
      return svg;
    },

    /* A button with an icon; its label is read aloud and shown on hover. */
    button(icon, label, onclick, extra = {}) {
      const { "class": cls, ...rest } = extra;
      return R.el(`button.icon-button${cls ? "." + cls : ""}`,
        { type: "button", "aria-label": label, title: label, onclick, ...rest }, R.icon(icon));
    },

    on(name, listener) {
      const channel = (channels[name] ??= { listeners: [], value: null });
      channel.listeners.push(listener);
      if (channel.value) listener(channel.value);
    },

    /* Called by the Gradio component that carries channel `name`. */
    channel(name, props, watch) {
      const channel = (channels[name] ??= { listeners: [], value: null });
      const take = () => {
        if (!props.value) return;
        const { showing } = props.value;
        if (showing === undefined || showing === R.showing()) { // else it is of what the page has left
          channel.value = props.value;
          for (const listener of channel.listeners) listener(channel.value);
        }
        if (name !== "live") props.value = ""; // at every message Gradio copies the values of all its components
      };
      watch("value", take);
      take();
    },

    /* Called by the Gradio component that is the page. */
    start(element, trigger) {
      R.send = (event, data = {}) => trigger(event, { conversation: R.place(), showing: R.showing(), ...data });
      for (const part of R.parts) part(element);
    },

    forgets: [], // called when this browser is to forget whose page it was: nothing of a conversation stays, not its id
    /* Remembered in this browser only; a browser that forbids it simply forgets. */
    recall(key, fallback) {
      try { return localStorage.getItem("ruminate-" + key) ?? fallback; } catch { return fallback; }
    },
    remember(key, value) {
      try { localStorage.setItem("ruminate-" + key, value); } catch { /* private mode: nothing to keep it in */ }
    },

    /* What a program said, as a sentence: a capital, unless it begins with a name, and a full stop. */
    sentence(words) {
      const begun = words.replace(/^[a-z]+(?=[ ,;:])/, (word) => word[0].toUpperCase() + word.slice(1));
      return /[.!?…]$/.test(begun) ? begun : begun + ".";
    },

    duration(seconds) {
      if (seconds < 9.95) return R.say("second", { n: Math.max(0.1, seconds).toFixed(1).replace(/\.0$/, "") });
      const whole = Math.round(seconds);
      return whole < 60 ? R.say("second", { n: whole }) : R.say("minute", { m: Math.floor(whole / 60), s: whole % 60 });
    },

    /* A length of time in whole units, as the server tells it (ui/pieces.py). */
    span(seconds) {
      if (seconds < 60) return R.say("second", { n: Math.round(seconds) });
      if (seconds < 3600) return R.say("minute", { m: Math.floor(seconds / 60), s: Math.floor(seconds % 60) });
      return R.say("hour", { h: Math.floor(seconds / 3600), m: Math.floor((seconds % 3600) / 60) });
    },

    async copy(text, button) {
      try { await navigator.clipboard.writeText(text); } catch { copyOldWay(text); } // it may be missing, or forbidden
      button.classList.add("done");
      R.announce(R.say("copied"));
      button.setAttribute("aria-label", R.say("copied"));
      clearTimeout(button.copied);
      button.copied = setTimeout(() => { button.classList.remove("done"); button.setAttribute("aria-label", R.say("copy")); }, 1500);
    },

    /* Whether a key belongs to an input method that is composing. Safari ends the composition before the Enter that ended it. */
    composing: (event) => event.isComposing || event.keyCode === 229,

    /* A name that nothing else has. */
    newName: () => `${Date.now()}-${Math.random().toString(36).slice(2)}`,

    announce(text) {
      const status = document.getElementById("announcer");
      if (status) status.textContent = text;
    },
  });

  function formOf(count, given) {
    const forms = new Map(given.map((one, at) => (given[0].includes("=") ? one.split("=", 2) : [["one", "other"][at], one])));
    const category = new Intl.PluralRules(document.documentElement.lang || "en").select(Number(count));
    return forms.get(category) ?? forms.get("other") ?? [...forms.values()].at(-1);
  }

  /* A page that came over plain HTTP from another machine has no clipboard of its own. */
  function copyOldWay(text) {
    const area = R.el("textarea", { "aria-hidden": "true", class: "unseen" });
    area.value = text;
    document.getElementById("page").append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  const ICONS = {
    menu: '<path d="M4 7h16M4 12h16M4 17h10"/>',
    plus: '<path d="M12 5v14M5 12h14"/>',
    search: '<circle cx="11" cy="11" r="6.5"/><path d="m20 20-4.2-4.2"/>',
    send: '<path d="M12 19V5M6 11l6-6 6 6"/>',
    stop: '<rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" stroke="none"/>',
    copy: '<rect x="9" y="9" width="11" height="11" rx="2.5"/><path d="M5 15H4.5A1.5 1.5 0 0 1 3 13.500v-9A1.500 1.500 0 0 1 4.500 3h9A1.500 1.500 0 0 1 15 4.500V5"/>',
    again: '<path d="M20 11a8 8 0 1 0-2.300 6.300M20 5v6h-6"/>',
    edit: '<path d="M4 20h4L19 9a2.800 2.800 0 0 0-4-4L4 16z"/>',
    up: '<path d="M7 11v9H4v-9zM7 11l4-8a2.500 2.500 0 0 1 2.500 2.800L13 9h5.500a2 2 0 0 1 2 2.400l-1.300 7a2 2 0 0 1-2 1.600H7"/>',
    down: '<path d="M17 13V4h3v9zM17 13l-4 8a2.500 2.500 0 0 1-2.500-2.800L11 15H5.500a2 2 0 0 1-2-2.400l1.300-7a2 2 0 0 1 2-1.600H17"/>',
    left: '<path d="m14 6-6 6 6 6"/>',
    right: '<path d="m10 6 6 6-6 6"/>',
    bottom: '<path d="M12 5v14M6 13l6 6 6-6"/>',
    dots: '<circle cx="5" cy="12" r="1.300"/><circle cx="12" cy="12" r="1.300"/><circle cx="19" cy="12" r="1.300"/>',
    pin: '<path d="M9 4h6l-1 6 3 3H7l3-3zM12 13v7"/>',
    theme: '<path d="M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z"/>',
    gear: '<circle cx="12" cy="12" r="3"/><path d="M12 3.500v2.300M12 18.200v2.300M3.500 12h2.300M18.200 12h2.300M6 6l1.600 1.600M16.400 16.400 18 18M6 18l1.600-1.600M16.400 7.600 18 6"/><circle cx="12" cy="12" r="6.200"/>',
    sliders: '<path d="M4 7h10M18 7h2M4 12h2M10 12h10M4 17h8M16 17h4"/><circle cx="16" cy="7" r="1.800"/><circle cx="8" cy="12" r="1.800"/><circle cx="14" cy="17" r="1.800"/>',
    clip: '<path d="m20 11-8.500 8.500a5 5 0 0 1-7-7L13 4a3.400 3.400 0 0 1 4.800 4.800l-8.300 8.200a1.700 1.700 0 0 1-2.400-2.400L14.500 7"/>',
    file: '<path d="M7 3h7l5 5v12a1 1 0 0 1-1 1H7a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM14 3v5h5"/>',
    close: '<path d="M6 6l12 12M18 6 6 18"/>',
    eye: '<path d="M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12z"/><circle cx="12" cy="12" r="2.800"/>',
    chevron: '<path d="m9 6 6 6-6 6"/>',
  };
})();
