// A detailed moving source with a number in its pixels, and a reader of the results: what was shown, in what order,
// and whether the capture time that came with a picture is that of the picture which bears the number.
(() => {
  const BITS = 12, CELL = 16, OFF = 6;
  const now = () => performance.timeOrigin + performance.now();
  const sent = [];
  const read = [];
  let count = 0;

  function paint(context) {
    const { width, height } = context.canvas;
    for (let y = 0; y < height; y += 8) {
      for (let x = 0; x < width; x += 8) {
        context.fillStyle = `hsl(${(x * 3 + y * 5 + count * 7) % 360} 60% ${30 + ((x ^ y ^ count) & 31)}%)`;
        context.fillRect(x, y, 8, 8);
      }
    }
    const number = count++;
    for (let bit = 0; bit < BITS; bit++) {
      context.fillStyle = (number >> bit) & 1 ? "#fff" : "#000";
      context.fillRect(bit * CELL, 0, CELL, CELL);
    }
    sent[number] = now();
    return sent[number];
  }

  function look(shown) {
    const context = millstream.show.presenter.canvas.getContext("2d");
    let number = 0;
    for (let bit = 0; bit < BITS; bit++) {
      const [red] = context.getImageData(bit * CELL + OFF, OFF, 1, 1).data;
      if (red > 127) number |= 1 << bit;
    }
    read.push({ number, revision: shown.revision, capture: shown.time, stamp: sent[number] ?? 0 });
  }

  const source = {
    kind: "file",
    timer: 0,
    async start(fresh) { this.timer = setInterval(fresh, 50); },
    stop() { clearInterval(this.timer); },
    paint,
    size: () => [256, 256],
  };
  window.stamped = { read, sent, async begin() {
    await millstream.show.run(source);
    millstream.show.shown.subscribe((shown) => shown && count > 3 && look(shown));
  } };
})();
