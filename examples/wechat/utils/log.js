// The log that both pages show: the latest lines, each with its time.
'use strict';

const most = 200;

/** @typedef {{ id: number, time: string, kind: string, text: string }} Line */

/** @returns {{ lines: Line[], add: (kind: string, text: string) => void }} */
function newLog() {
  let count = 0;
  return {
    lines: [],
    add(kind, text) {
      const now = new Date();
      const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
      this.lines.push({ id: count++, time, kind, text });
      if (this.lines.length > most) this.lines.shift();
    },
  };
}

module.exports = { newLog };
