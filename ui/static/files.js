/* What goes with a message: text files, and pictures where the model takes them. Chosen, dropped or pasted; read and checked here. */
(() => {
  const R = window.ruminate;
  const { el, say, button, icon } = R;
  const MOST = 400_000; // characters together, as the server takes them
  const MOST_PICTURES = 4;
  const EDGE = 2048; // pixels; models scale a picture down to about as much
  const AS_IT_IS = 1_000_000; // bytes up to which a small picture is left as it is

  /* A picture as a data URL that a model reads. Photographs are written anew: where and with what they were taken stays here. */
  async function asPicture(file) {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, EDGE / Math.max(image.width, image.height));
    if (scale === 1 && file.size <= AS_IT_IS && ["image/png", "image/webp", "image/gif"].includes(file.type)) {
      return new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.onerror = () => reject(reader.error);
        reader.readAsDataURL(file);
      });
    }
    const canvas = el("canvas", { width: Math.round(image.width * scale), height: Math.round(image.height * scale) });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", 0.85);
  }

  /* A picture as it stands in a message. One that lies elsewhere is a link: nothing is loaded from other servers. */
  R.pictureBlock = (url) => url.startsWith("data:image/")
    ? el("img.picture", { src: url, alt: say("picture") })
    : el("a.picture", { href: /^https?:/.test(url) ? url : null, target: "_blank", rel: "noopener noreferrer nofollow" }, say("picture"));

  /* A file as it stands in a message: its name, how long it is, its text once somebody looks. */
  R.fileBlock = (file) => {
    const text = el("pre", { tabindex: "0", dir: "auto" });
    const block = el("details.file", {}, el("summary", {}, icon("file"), el("span", {}, file.name), el("small", {}, say("file_size", { n: file.text.length }))), text);
    block.addEventListener("toggle", () => { if (block.open) text.textContent = file.text; });
    return block;
  };

  R.parts.push((page) => {
    const list = page.querySelector("#files");
    const input = page.querySelector("#file-input");
    let files = [];
    let pictures = []; // {name, url}

    function draw() {
      list.replaceChildren(...files.map((file) => el("li", {}, icon("file"), el("span", {}, file.name),
        button("close", say("file_remove", { name: file.name }), () => { files = files.filter((one) => one !== file); changed(); }))));
      list.append(...pictures.map((picture) => el("li", {}, el("img", { src: picture.url, alt: "" }), el("span", {}, picture.name),
        button("close", say("file_remove", { name: picture.name }), () => { pictures = pictures.filter((one) => one !== picture); changed(); }))));
      list.hidden = !R.hasFiles();
      R.composerReady();
    }
    const changed = () => { draw(); R.keepDraft(); };
    async function add(given) {
      for (const one of given) {
        if (one.type.startsWith("image/") && one.type !== "image/svg+xml") { await addPicture(one); continue; }
        if (one.size > MOST * 4) { R.toast(say("file_long", { name: one.name, most: MOST })); continue; }
        const text = (await one.text().catch(() => "\0")).replace(/\r\n/g, "\n"); // a folder has none
        if (text.includes("\0") || text.includes("\ufffd")) { R.toast(say("file_binary", { name: one.name })); continue; }
        const together = files.reduce((sum, file) => sum + file.text.length, text.length);
        if (together > MOST) { R.toast(say("file_long", { name: one.name, most: MOST })); continue; }
        files.push({ name: one.name, text });
      }
      changed();
      R.focusComposer();
    }
    async function addPicture(one) {
      if (!R.me?.pictures) { R.toast(say("file_image", { name: one.name })); return; }
      if (pictures.length >= MOST_PICTURES) { R.toast(say("file_images", { most: MOST_PICTURES })); return; }
      try { pictures.push({ name: one.name, url: await asPicture(one) }); } catch { R.toast(say("file_broken", { name: one.name })); }
    }
    R.hasFiles = () => files.length + pictures.length > 0;
    R.files = () => ({ files: [...files], pictures: [...pictures] });
    R.setFiles = (given) => { files = [...(given.files ?? [])]; pictures = [...(given.pictures ?? [])]; draw(); };

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
    /* A spreadsheet's cells, or words of a text processor, come with a picture of themselves: there the words are meant. */
    const written = ({ types, files }) => ["text/plain", "text/html"].every((one) => types.includes(one)) && [...files].every((file) => file.type.startsWith("image/"));
    page.querySelector("#message").addEventListener("paste", (event) => {
      const { files } = event.clipboardData;
      if (files.length && !written(event.clipboardData)) { event.preventDefault(); add([...files]); }
    });
  });
})();
