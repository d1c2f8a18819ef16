// A clip next to its token groups, with sliders over layers and frames; a patch under the pointer lights its group in all
// frames. The data come from viewer.py.
"use strict";

class Viewer {
  constructor(root) {
    this.root = root;
    Object.assign(this, JSON.parse(root.querySelector("script").textContent)); // grid, patch, frames, layers, fps
    [this.steps, this.rows, this.columns] = this.grid;
    [this.depth, this.patchHeight, this.patchWidth] = this.patch;
    this.places = this.rows * this.columns;
    for (const layer of this.layers) {
      layer.membership = new Int32Array(bytes(layer.membership).buffer);
      layer.fill = bytes(layer.fill);
      layer.edge = bytes(layer.edge);
    }
    this.find = (name) => root.querySelector(`.${name}`);
    this.views = [...root.querySelectorAll(".view")];
    this.strip = [...root.querySelectorAll(".step canvas")];
    this.frame = this.find("frame").valueAsNumber - 1;
    this.layer = this.find("layer").valueAsNumber;
    this.cursor = Math.floor(this.rows / 2) * this.columns + Math.floor(this.columns / 2); // moved by arrow keys
    this.group = null; // lit, with the patch that it was found by
    this.pinned = false;
    this.timer = null;
  }

  async start() {
    this.pixels = await Promise.all(this.frames.map(decoded));
    this.listen();
    this.draw();
    this.root.classList.add("ready");
  }

  listen() {
    this.find("frame").addEventListener("input", (event) => this.show({ frame: event.target.valueAsNumber - 1 }));
    this.find("layer").addEventListener("input", (event) => this.show({ layer: event.target.valueAsNumber }));
    this.find("play").addEventListener("click", () => this.toggle());
    for (const canvas of this.views) {
      this.listenTo(canvas, () => Math.floor(this.frame / this.depth));
      canvas.addEventListener("keydown", (event) => this.key(event));
      canvas.addEventListener("focus", () => {
        if (canvas.matches(":focus-visible") && !this.pinned) this.light(this.cursorAt(canvas));
      });
      canvas.addEventListener("blur", () => {
        if (!this.pinned) this.light(null);
      });
    }
    this.strip.forEach((canvas, step) => {
      this.listenTo(canvas, () => step);
      canvas.addEventListener("click", () => this.show({ frame: step * this.depth }));
    });
  }

  listenTo(canvas, step) {
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      const within = (offset, size, count) => Math.min(count - 1, Math.max(0, Math.floor((offset / size) * count)));
      const row = within(event.clientY - box.top, box.height, this.rows);
      const column = within(event.clientX - box.left, box.width, this.columns);
      return { step: step(), place: row * this.columns + column, canvas };
    };
    canvas.addEventListener("pointermove", (event) => {
      if (!this.pinned) this.light(place(event));
    });
    canvas.addEventListener("pointerleave", () => {
      if (!this.pinned) this.light(null);
    });
    // A click or a tap holds the group, so that sliders can be moved meanwhile; another one lets it go.
    canvas.addEventListener("click", (event) => {
      const patch = place(event);
      this.pinned = !(this.pinned && this.group && this.groupAt(patch) === this.group.number);
      this.light(this.pinned ? patch : null);
    });
  }

  key(event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (move) {
      const row = Math.min(this.rows - 1, Math.max(0, Math.floor(this.cursor / this.columns) + move[0]));
      const column = Math.min(this.columns - 1, Math.max(0, (this.cursor % this.columns) + move[1]));
      this.cursor = row * this.columns + column;
      this.light(this.cursorAt(event.target));
    } else if (event.key === "Enter" || event.key === " ") {
      this.pinned = !this.pinned;
      this.light(this.cursorAt(event.target));
    } else if (event.key === "Escape") {
      this.pinned = false;
      this.light(null);
    } else return;
    event.preventDefault();
  }

  cursorAt(canvas) {
    return { step: Math.floor(this.frame / this.depth), place: this.cursor, canvas };
  }

  toggle() {
    clearInterval(this.timer);
    const next = () => this.show({ frame: (this.frame + 1) % this.frames.length });
    this.timer = this.timer === null ? setInterval(next, 1000 / this.fps) : null;
    this.find("play").textContent = this.timer === null ? "Play" : "Pause";
  }

  show({ frame = this.frame, layer = this.layer }) {
    const sameLayer = layer === this.layer;
    Object.assign(this, { frame, layer });
    this.find("frame").value = frame + 1;
    // In another layer the same patch is in another group; in another frame the group stays lit.
    if (this.group && !sameLayer) this.light(this.group.patch);
    this.draw(sameLayer);
  }

  groupAt({ step, place }) {
    return this.layers[this.layer].membership[step * this.places + place];
  }

  light(patch) {
    const lit = patch && { number: this.groupAt(patch), patch };
    const changed = (lit && lit.number) !== (this.group && this.group.number);
    this.group = lit;
    const tip = this.find("tip");
    tip.hidden = !lit;
    if (lit) {
      tip.textContent = this.describe(lit);
      this.placeTip(tip, patch);
      this.root.dataset.lit = lit.number;
    } else delete this.root.dataset.lit;
    if (changed) this.draw();
  }

  placeTip(tip, { place, canvas }) {
    const box = canvas.getBoundingClientRect();
    const room = this.root.getBoundingClientRect();
    const x = box.left + (((place % this.columns) + 0.5) / this.columns) * box.width - room.left;
    const y = box.top + ((Math.floor(place / this.columns) + 1) / this.rows) * box.height - room.top;
    tip.style.left = `${Math.max(0, Math.min(x - tip.offsetWidth / 2, room.width - tip.offsetWidth))}px`;
    tip.style.top = `${y + 8}px`;
  }

  // The size of a group, and its frames.
  describe({ number, patch }) {
    const steps = [];
    let size = 0;
    this.layers[this.layer].membership.forEach((group, token) => {
      if (group !== number) return;
      size += 1;
      const step = Math.floor(token / this.places);
      if (steps.at(-1) !== step) steps.push(step);
    });
    if (number < 0) return `Discarded: ${size} of the clip's ${this.steps * this.places} patches`;
    if (size === 1) return `One token of 1 patch, in ${this.framesOf([patch.step])}`;
    const span = steps.length > 1 ? `${steps.length} of ${this.steps} time steps: ` : "";
    return `One token of ${size} patches, in ${span}${this.framesOf(steps)}`;
  }

  framesOf(steps) {
    const runs = [];
    for (const step of steps) {
      if (runs.length && runs.at(-1)[1] === step - 1) runs.at(-1)[1] = step;
      else runs.push([step, step]);
    }
    const names = runs.map(([first, last]) => [first * this.depth + 1, (last + 1) * this.depth]);
    const text = names.slice(0, 5).map(([first, last]) => (first === last ? first : `${first}\u2013${last}`));
    const single = runs.length === 1 && names[0][0] === names[0][1];
    return `frame${single ? "" : "s"} ${text.join(", ")}${names.length > 5 ? " and more" : ""}`;
  }

  draw(onlyFrame = false) {
    const step = Math.floor(this.frame / this.depth);
    this.paint(this.views[0], this.frame, false);
    this.paint(this.views[1], this.frame, true);
    if (!onlyFrame) this.strip.forEach((canvas, index) => this.paint(canvas, index * this.depth, true));
    this.strip.forEach((canvas, index) => canvas.parentElement.classList.toggle("now", index === step));
    this.find("frame-name").textContent = `${this.frame + 1} of ${this.frames.length}`;
    this.find("layer-name").textContent = this.layers[this.layer].name;
    this.find("frame").setAttribute("aria-valuetext", `frame ${this.frame + 1}`);
    this.find("layer").setAttribute("aria-valuetext", this.layers[this.layer].name);
  }

  // Paints a frame, or every group in its mean colour with a border; other groups than the lit one are dimmed.
  paint(canvas, frame, asGroups) {
    const { patchHeight: ph, patchWidth: pw, rows, columns, places } = this;
    const { membership, fill, edge } = this.layers[this.layer];
    const lit = this.group ? this.group.number : null;
    const [width, height] = [columns * pw, rows * ph];
    const source = this.pixels[frame];
    const image = new ImageData(width, height);
    const first = Math.floor(frame / this.depth) * places;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const token = first + row * columns + column;
        const group = membership[token];
        const isLit = lit !== null && group === lit;
        const differs = (inside, other) => !inside || membership[other] !== group;
        const above = differs(row > 0, token - columns);
        const below = differs(row < rows - 1, token + columns);
        const left = differs(column > 0, token - 1);
        const right = differs(column < columns - 1, token + 1);
        const share = lit === null || isLit ? 1 : 0.35;
        for (let y = 0; y < ph; y++) {
          for (let x = 0; x < pw; x++) {
            const at = 4 * ((row * ph + y) * width + column * pw + x);
            const border =
              (y === 0 && above) || (y === ph - 1 && below) || (x === 0 && left) || (x === pw - 1 && right);
            for (let c = 0; c < 3; c++) {
              let value = source[at + c];
              if (asGroups) value = group < 0 ? 0 : (border ? edge : fill)[3 * group + c];
              image.data[at + c] = isLit && border ? 255 : value * share;
            }
            image.data[at + 3] = 255;
          }
        }
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

async function decoded(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

for (const root of document.querySelectorAll(".viewer")) new Viewer(root).start();
