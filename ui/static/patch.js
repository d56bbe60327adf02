/* What the server draws anew comes into the page as a change: what is the same stays, with all that was done to it here
   since (scrolled, unfolded, focused, a moment told by the browser's clock). */
(() => {
  const R = window.ruminate;

  /* Make `live`, which was drawn from `prev`, what `next` is. */
  R.patch = (live, prev, next) => {
    if (prev.isEqualNode(next)) return;
    if (live.nodeType === Node.TEXT_NODE) { live.data = next.data; return; }
    for (const { name, value } of next.attributes) if (prev.getAttribute(name) !== value) live.setAttribute(name, value);
    for (const { name } of prev.attributes) if (!next.hasAttribute(name)) live.removeAttribute(name);
    const [now, old, fresh] = [live, prev, next].map((node) => [...node.childNodes]);
    if (now.length !== old.length) { live.replaceChildren(...fresh.map((node) => node.cloneNode(true))); return; }
    const most = Math.min(old.length, fresh.length);
    let head = 0, tail = 0;
    while (head < most && old[head].isEqualNode(fresh[head])) head++;
    while (tail < most - head && old.at(-1 - tail).isEqualNode(fresh.at(-1 - tail))) tail++;
    const gone = old.slice(head, old.length - tail), come = fresh.slice(head, fresh.length - tail);
    if (gone.length === come.length && gone.every((node, index) => node.nodeName === come[index].nodeName)) {
      gone.forEach((node, index) => R.patch(now[head + index], node, come[index]));
      return;
    }
    const after = now[old.length - tail] ?? null;
    for (const node of now.slice(head, old.length - tail)) node.remove();
    for (const node of come) live.insertBefore(node.cloneNode(true), after);
  };

  /* A function that keeps `box` as the HTML that it is given; `anew`: as what was never there before. */
  R.drawing = (box) => {
    let prev = null;
    return (html, anew) => {
      const next = document.createElement("div"); // without attributes, as `prev`: those of `box` stay
      next.innerHTML = html;
      if (prev === null || anew) box.innerHTML = html;
      else R.patch(box, prev, next);
      prev = next;
    };
  };
})();
