/* HTML put over what stands there already: what is the same stays, with its selection and its scrolling; text that only grew is added to. */
(() => {
  const R = window.ruminate;

  function sameAttributes(old, wanted) {
    for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }

  function patch(old, wanted) {
    let at = old.firstChild;
    for (const node of [...wanted.childNodes]) {
      if (!at) { old.append(node); continue; }
      const next = at.nextSibling;
      if (at.nodeName !== node.nodeName) at.replaceWith(node);
      else if (at.nodeType === Node.TEXT_NODE) R.growText(at, node.data);
      else if (!at.isEqualNode(node)) { sameAttributes(at, node); patch(at, node); }
      at = next;
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  R.growText = (text, wanted) => {
    if (text.data === wanted) return;
    if (wanted.startsWith(text.data)) text.appendData(wanted.slice(text.length));
    else text.data = wanted;
  };

  R.morph = (node, html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    patch(node, template.content);
  };
})();
