"use strict";
// Draws crystals with 3Dmol: one canvas for each place, a scene chosen from a list, frames by a slider.
(() => {
  const hasWebGL = () => {
    const canvas = document.createElement("canvas");
    return Boolean(window.WebGLRenderingContext && (canvas.getContext("webgl2") || canvas.getContext("webgl")));
  };
  const add = (a, b) => a.map((x, k) => x + b[k]);
  const vector = ([x, y, z]) => ({ x, y, z });
  const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
  const translated = (at, cell, [a, b, c]) =>
    cell.length ? at.map((x, k) => x + a * cell[k] + b * cell[3 + k] + c * cell[6 + k]) : at;

  // Positions of all that is drawn: the atoms, then their images.
  const drawn = (scene, frame) => {
    const at = (n) => frame.at.slice(3 * n, 3 * n + 3);
    const own = scene.species.map((z, n) => ({ z, n, at: at(n) }));
    const images = scene.images.map(([n, ...shift]) => ({
      z: scene.species[n],
      n,
      at: translated(at(n), frame.cell, shift),
    }));
    return [...own, ...images];
  };

  // Neighbors by a limit for each pair of elements; a grid keeps it linear in the atoms.
  const neighbors = (atoms, reach, visit) => {
    const grid = new Map();
    const place = (at) => at.map((x) => Math.floor(x / reach));
    atoms.forEach((atom, n) => {
      const key = place(atom.at).join();
      grid.set(key, [...(grid.get(key) || []), n]);
    });
    atoms.forEach((atom, n) => {
      const home = place(atom.at);
      for (let k = 0; k < 27; k++) {
        const key = add(home, [(k % 3) - 1, (Math.floor(k / 3) % 3) - 1, Math.floor(k / 9) - 1]).join();
        for (const m of grid.get(key) || []) if (m > n) visit(n, m, distance(atom.at, atoms[m].at));
      }
    });
  };

  const addAtoms = (viewer, scene, frame) => {
    const small = scene.framework ? 0.5 : 1;
    const atoms = drawn(scene, frame);
    const entries = atoms.map(({ z, n, at }) => ({
      elem: scene.elements[z].symbol, ...vector(at), bonds: [], bondOrder: [], serial: n, hetflag: true,
    }));
    const dimers = [];
    const reach = Math.max(scene.dimers[1], ...Object.values(scene.bonds));
    neighbors(atoms, reach, (n, m, d) => {
      const [low, high] = [atoms[n].z, atoms[m].z].sort((a, b) => a - b);
      if (low === 8 && high === 8 && d < scene.dimers[1]) dimers.push([n, m, d]);
      if (d > 0.1 && d < (scene.bonds[`${low} ${high}`] || 0)) {
        entries[n].bonds.push(m);
        entries[n].bondOrder.push(1);
        entries[m].bonds.push(n);
        entries[m].bondOrder.push(1);
      }
    });
    const model = viewer.addModel();
    model.addAtoms(entries);
    for (const { symbol, color, r } of Object.values(scene.elements)) {
      model.setStyle({ elem: symbol }, { sphere: { radius: r * small, color }, stick: { radius: 0.09 * small, color } });
    }
    const labelled = new Set();
    const centres = (n) => entries[n].bonds.filter((k) => scene.centres.includes(atoms[k].z));
    for (const [n, m, d] of dimers) {
      const bonded = d < scene.dimers[0];
      if (!bonded && centres(n).some((k) => centres(m).includes(k))) continue; // an edge of one polyanion
      const [start, end] = [vector(atoms[n].at), vector(atoms[m].at)];
      const color = scene.colors.dimer;
      viewer.addCylinder({ start, end, color, radius: bonded ? 0.2 : 0.12, dashed: !bonded, fromCap: 1, toCap: 1 });
      const key = [atoms[n].n, atoms[m].n].sort().join();
      if (bonded && !labelled.has(key)) write(viewer, atoms[n].at, atoms[m].at, `${d.toFixed(2)} Å`);
      labelled.add(key);
    }
    return atoms.length;
  };

  const write = (viewer, a, b, text) =>
    viewer.addLabel(text, {
      position: vector(add(a, b).map((x) => x / 2)), fontSize: 13, fontColor: "#1b2733", backgroundColor: "white",
      backgroundOpacity: 0.8, inFront: true, borderThickness: 0,
    });

  const addCell = (viewer, cell) => {
    const corner = (k) => translated([0, 0, 0], cell, [k & 1, (k >> 1) & 1, (k >> 2) & 1]);
    for (let k = 0; k < 8; k++) {
      for (const bit of [1, 2, 4]) {
        if (k & bit) continue;
        viewer.addCylinder({
          start: vector(corner(k)), end: vector(corner(k | bit)), radius: 0.03, color: "#8a94a0", fromCap: 1, toCap: 1,
        });
      }
    }
  };

  const addMarks = (viewer, scene, frame) => {
    for (const [i, j, ...shift] of scene.pairs) {
      const a = frame.at.slice(3 * i, 3 * i + 3);
      const b = translated(frame.at.slice(3 * j, 3 * j + 3), frame.cell, shift);
      if (distance(a, b) < scene.dimers[0]) continue; // marked as a dimer
      viewer.addCylinder({ start: vector(a), end: vector(b), color: scene.colors.pair, radius: 0.08, dashed: true });
      write(viewer, a, b, `${distance(a, b).toFixed(2)} Å`);
    }
    for (const { from, to, color, label, dashed, r } of scene.markers) {
      if (to) viewer.addCylinder({ start: vector(from), end: vector(to), color, radius: r, dashed, fromCap: 1, toCap: 1 });
      else viewer.addSphere({ center: vector(from), color, radius: r, opacity: 0.85 });
      if (label) write(viewer, from, to || from, label);
    }
  };

  // Turn a view so that one lattice vector points at the reader and another one up.
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const unit = (a) => a.map((x) => x / Math.sqrt(dot(a, a)));
  const look = (viewer, cell, toReader, upward) => {
    const lattice = cell.length ? cell : [1, 0, 0, 0, 1, 0, 0, 0, 1];
    const row = (k) => lattice.slice(3 * k, 3 * k + 3);
    const z = unit(row(toReader));
    const x = unit(cross(row(upward), z));
    const y = cross(z, x);
    // Quaternion of the rotation matrix with rows x, y, z, by the largest of its components (Shepperd 1978).
    const squares = [1 + x[0] - y[1] - z[2], 1 - x[0] + y[1] - z[2], 1 - x[0] - y[1] + z[2], 1 + x[0] + y[1] + z[2]];
    const most = squares.indexOf(Math.max(...squares));
    const [xy, xz, yz] = [y[0] + x[1], z[0] + x[2], z[1] + y[2]];
    const [wx, wy, wz] = [z[1] - y[2], x[2] - z[0], y[0] - x[1]];
    const parts = [[squares[0], xy, xz, wx], [xy, squares[1], yz, wy], [xz, yz, squares[2], wz], [wx, wy, wz, squares[3]]];
    const length = 2 * Math.sqrt(squares[most]);
    viewer.setView([...viewer.getView().slice(0, 4), ...parts[most].map((q) => q / length)]);
  };
  const lengths = (cell) => [0, 1, 2].map((k) => (cell.length ? Math.hypot(...cell.slice(3 * k, 3 * k + 3)) : 3 - k));

  // The longest lattice vector across, the shortest towards the reader, a little from above.
  const lookAtAll = (viewer, cell) => {
    const sizes = lengths(cell);
    const [short, middle] = [0, 1, 2].sort((a, b) => sizes[a] - sizes[b]);
    viewer.zoomTo();
    look(viewer, cell, short, middle);
    viewer.rotate(-14, "y");
    viewer.rotate(10, "x");
    viewer.zoom(0.92);
  };

  const addLegend = (words, scene) => {
    for (const { symbol, color } of Object.values(scene.elements)) {
      const entry = control(words, "span", { className: "view-element", textContent: symbol });
      entry.style.setProperty("--element", color);
    }
  };

  const control = (place, tag, properties) => {
    const made = Object.assign(document.createElement(tag), properties);
    place.append(made);
    return made;
  };

  // Place: an element with class "view", which gets a bar of controls and a canvas.
  const showView = (place, scenes) => {
    place.textContent = "";
    if (!hasWebGL()) {
      place.textContent = "This browser has no WebGL: structures are in the records (atomsim show).";
      place.dataset.drawn = "0";
      return;
    }
    const bar = control(place, "div", { className: "view-bar" });
    const chosen = control(bar, "select", { ariaLabel: "structure", hidden: scenes.length < 2 });
    scenes.forEach((scene, n) => chosen.append(new Option(scene.name, n)));
    const play = control(bar, "button", { type: "button", textContent: "▶", title: "play or stop", ariaLabel: "play" });
    const slider = control(bar, "input", { type: "range", min: 0, step: 1, ariaLabel: "frame" });
    const words = control(bar, "span", { className: "view-words" });
    const canvas = control(place, "div", { className: "view-canvas" });
    const viewer = $3Dmol.createViewer(canvas, { backgroundColor: "white", antialias: true, orthographic: true });
    let timer = 0;
    const draw = (again) => {
      const scene = scenes[chosen.value];
      const frame = scene.frames[slider.value];
      viewer.removeAllModels();
      viewer.removeAllShapes();
      viewer.removeAllLabels();
      place.dataset.drawn = addAtoms(viewer, scene, frame);
      if (frame.cell.length) addCell(viewer, frame.cell);
      addMarks(viewer, scene, frame);
      words.textContent = frame.title;
      if (again) lookAtAll(viewer, frame.cell);
      viewer.setHoverable({}, true, (atom) => {
        atom.hovered = viewer.addLabel(`${atom.elem} ${atom.serial}`, { position: atom, fontSize: 12, inFront: true });
      }, (atom) => viewer.removeLabel(atom.hovered)); // prettier-ignore
      viewer.render();
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "▶";
    };
    const choose = () => {
      stop();
      const frames = scenes[chosen.value].frames.length;
      Object.assign(slider, { max: frames - 1, value: 0, hidden: frames < 2 });
      play.hidden = frames < 2;
      legend.textContent = "";
      addLegend(legend, scenes[chosen.value]);
      draw(true);
    };
    const legend = control(bar, "span", { className: "view-legend" });
    ["a", "b", "c"].forEach((axis, k) => {
      const button = control(bar, "button", { type: "button", textContent: axis, title: `look along ${axis}` });
      button.addEventListener("click", () => {
        look(viewer, scenes[chosen.value].frames[slider.value].cell, k, k === 2 ? 1 : 2);
        viewer.render();
      });
    });
    chosen.addEventListener("change", choose);
    slider.addEventListener("input", () => draw(false));
    play.addEventListener("click", () => {
      if (timer) return stop();
      play.textContent = "❚❚";
      timer = setInterval(() => {
        slider.value = (Number(slider.value) + 1) % scenes[chosen.value].frames.length;
        draw(false);
      }, 180);
    });
    new ResizeObserver(() => viewer.resize()).observe(canvas);
    choose();
  };

  // A page may have many views and a browser few contexts: each is made when it is first seen, or printed.
  const waiting = new Map();
  const begin = (place) => {
    const scenes = waiting.get(place);
    waiting.delete(place);
    if (scenes) showView(place, scenes);
  };
  const watcher = new IntersectionObserver(
    (entries) => entries.filter((e) => e.isIntersecting).forEach((e) => begin(e.target)),
    { rootMargin: "300px" },
  );
  for (const data of document.querySelectorAll("script.view-data")) {
    const place = document.getElementById(data.dataset.for);
    waiting.set(place, JSON.parse(data.textContent));
    watcher.observe(place);
  }
  window.addEventListener("beforeprint", () => [...waiting.keys()].forEach(begin));
})();
