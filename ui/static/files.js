/* Text files that go with a message: chosen, dropped or pasted; read here, checked here, shown folded. */
(() => {
  const R = window.ruminate;
  const { el, say, button, icon } = R;
  const MOST = 400_000; // characters together, as the server takes them

  /* A file as it stands in a message: its name, how long it is, its text once somebody looks. */
  R.fileBlock = (file) => {
    const text = el("pre", { tabindex: "0" });
    const block = el("details.file", {}, el("summary", {}, icon("file"), el("span", {}, file.name), el("small", {}, say("file_size", { n: file.text.length }))), text);
    block.addEventListener("toggle", () => { if (block.open) text.textContent = file.text; });
    return block;
  };

  R.parts.push((page) => {
    const list = page.querySelector("#files");
    const input = page.querySelector("#file-input");
    let files = [];

    function draw() {
      list.replaceChildren(...files.map((file) => el("li", {}, icon("file"), el("span", {}, file.name),
        button("close", say("file_remove", { name: file.name }), () => { files = files.filter((one) => one !== file); draw(); }))));
      list.hidden = files.length === 0;
      R.composerReady();
    }
    async function add(given) {
      for (const one of given) {
        if (one.type.startsWith("image/")) { R.toast(say("file_image", { name: one.name })); continue; }
        if (one.size > MOST * 4) { R.toast(say("file_long", { name: one.name, most: MOST })); continue; }
        const text = (await one.text()).replace(/\r\n/g, "\n");
        if (text.includes("\0") || text.includes("\ufffd")) { R.toast(say("file_binary", { name: one.name })); continue; }
        const together = files.reduce((sum, file) => sum + file.text.length, text.length);
        if (together > MOST) { R.toast(say("file_long", { name: one.name, most: MOST })); continue; }
        files.push({ name: one.name, text });
      }
      draw();
      R.focusComposer();
    }
    R.hasFiles = () => files.length > 0;
    R.takeFiles = () => { const taken = files; files = []; draw(); return taken; };

    page.querySelector("#attach").addEventListener("click", () => input.click());
    input.addEventListener("change", async () => { await add([...input.files]); input.value = ""; });
    const view = page.querySelector("#view-chat");
    const carries = (event) => event.dataTransfer?.types.includes("Files");
    view.addEventListener("dragover", (event) => { if (carries(event)) { event.preventDefault(); view.classList.add("dropping"); } });
    view.addEventListener("dragleave", (event) => { if (!view.contains(event.relatedTarget)) view.classList.remove("dropping"); });
    view.addEventListener("drop", (event) => {
      view.classList.remove("dropping");
      if (carries(event)) { event.preventDefault(); add([...event.dataTransfer.files]); }
    });
    page.querySelector("#message").addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) { event.preventDefault(); add([...event.clipboardData.files]); }
    });
  });
})();
