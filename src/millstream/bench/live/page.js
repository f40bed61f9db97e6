// A detailed moving source with a number in its pixels, and a reader of the results on the page's canvas.
(() => {
  const SIDE = 512, BLOCK = 8, CELL = 16, BITS = 16, NUMBERS = 2 ** BITS;
  const ACROSS = 7, DOWN = 5; // pixels a picture
  const now = () => performance.timeOrigin + performance.now();
  const { show } = millstream;
  const moments = new Float64Array(NUMBERS);
  let made = 0, newest = -1, stamped = true, begun = now(), before = 0;
  let ages = [], outOfOrder = 0, mislabelled = 0;

  function canvas(side) {
    return Object.assign(document.createElement("canvas"), { width: side, height: side }).getContext("2d", { alpha: false });
  }

  /** Random colours in patches, which tile without a seam. */
  function detail() {
    const context = canvas(2 * SIDE);
    let grain = 1;
    for (let y = 0; y < SIDE; y += BLOCK) {
      for (let x = 0; x < SIDE; x += BLOCK) {
        grain = (grain * 48271) % 2147483647;
        context.fillStyle = `hsl(${((2 * x + y) * 360) / SIDE} 60% ${30 + (grain & 31)}%)`;
        for (const [i, j] of [[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]]) context.fillRect(x + i, y + j, BLOCK, BLOCK);
      }
    }
    return context.canvas;
  }

  const scene = canvas(SIDE), tiles = detail();

  function paint(context) {
    const number = made++ % NUMBERS;
    scene.drawImage(tiles, -((number * ACROSS) % SIDE), -((number * DOWN) % SIDE));
    for (let bit = 0; bit < BITS; bit++) {
      scene.fillStyle = (number >> bit) & 1 ? "#fff" : "#000";
      scene.fillRect(bit * CELL, 0, CELL, CELL);
    }
    context.drawImage(scene.canvas, 0, 0, context.canvas.width, context.canvas.height);
    return (moments[number] = now());
  }

  function read() {
    const { data } = show.presenter.canvas.getContext("2d").getImageData(0, CELL / 2, BITS * CELL, 1);
    let number = 0;
    for (let bit = 0; bit < BITS; bit++) if (data[4 * (bit * CELL + CELL / 2)] > 127) number |= 1 << bit;
    return number;
  }

  function look(shown) {
    const number = stamped ? read() : shown.sequence % NUMBERS;
    const moment = stamped ? moments[number] : shown.time;
    if (number === newest) return; // the same one again
    if (moment !== shown.time) return void mislabelled++;
    if (newest >= 0 && (number - newest + NUMBERS) % NUMBERS > NUMBERS / 2) outOfOrder++;
    ages.push(now() - moment);
    newest = number;
  }

  const codecs = { send: "", receive: "" };
  const { link, presenter } = show;
  const send = link.sendPicture.bind(link), take = presenter.take.bind(presenter);
  link.sendPicture = (picture) => {
    codecs.send = picture.codec;
    send(picture);
  };
  presenter.take = (picture) => {
    codecs.receive = picture.codec;
    take(picture);
  };

  globalThis.bench = {
    codecs,
    async begin(reads) {
      const { Ticker } = await import("/js/ticker.js");
      let ticker;
      await show.run({
        kind: "file",
        start: async (fresh) => (ticker = new Ticker(fresh)).start(),
        stop: () => ticker.stop(),
        paint,
        size: () => [SIDE, SIDE],
      });
      stamped = reads;
      show.shown.subscribe((shown) => shown && look(shown));
    },
    take() {
      const seen = { seconds: (now() - begun) / 1000, ages, made: made - before, out_of_order: outOfOrder, mislabelled };
      [ages, outOfOrder, mislabelled, begun, before] = [[], 0, 0, now(), made];
      return seen;
    },
  };
})();
