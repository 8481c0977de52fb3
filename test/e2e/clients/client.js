// A test's handle of a client in any runtime: buttons to press, and the display.
import { EventEmitter, once } from 'node:events';

// patience is how long, in ms, a test waits for the expected display.
export const patience = 20_000;

// Client is made with a hand, which its runtime has, and emits "change".
//
// connect, send and sendBytes press buttons. read returns { caption, status, lines }, a line being "kind text";
// captions returns all captions so far. later moves its clock, chance fixes its dice, back brings it to the front.
export class Client extends EventEmitter {
  constructor(hand) {
    super();
    this.setMaxListeners(0);
    Object.assign(this, hand);
  }

  // until waits until the display satisfies the condition, and returns it.
  async until(what, holds) {
    const signal = AbortSignal.timeout(patience);
    for (;;) {
      const changed = once(this, 'change', { signal });
      changed.catch(() => {});
      const shown = await this.read();
      if (holds(shown)) return shown;
      await changed.catch(() => {
        const clipped = { ...shown, lines: shown.lines.map((line) => line.slice(0, 200)) };
        throw new Error(`not shown within ${patience} ms: ${what}; but ${JSON.stringify(clipped, null, 2)}`);
      });
    }
  }

  // captioned waits for the connect button's caption.
  captioned(text) {
    return this.until(`the caption ${text}`, ({ caption }) => caption === text);
  }

  // says waits for the status beside the button.
  says(text) {
    return this.until(`the status ${text}`, ({ status }) => status === text);
  }

  // logged waits until count lines of the log match, and returns them.
  async logged(pattern, count = 1) {
    const matching = ({ lines }) => lines.filter((line) => pattern.test(line));
    const shown = await this.until(`${count} lines like ${pattern}`, (shown) => matching(shown).length >= count);
    return matching(shown);
  }
}
