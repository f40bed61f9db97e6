/** Beats 30 times a second for a page that is not seen. */
setInterval(() => postMessage(0), 1000 / 30);
