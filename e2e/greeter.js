// Starts and stops the program under test, examples/greeter, as scripts/e2e.sh has built it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const binary = process.env.GREETER ?? fileURLToPath(new URL('artifacts/greeter', import.meta.url));

// limit bounds each test, so that one that hangs says which it is.
export const limit = { timeout: 30_000 };

// Nothing may outlive a run, one that is interrupted or timed out included.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

export class Greeter {
  #child;
  #exited;
  output = ''; // what it has printed so far, stdout and stderr
  url = '';    // the page's address

  // start starts a greeter on a free port, to be killed at the end of test t if it still runs then.
  static async start(t) {
    const greeter = new Greeter();
    const child = spawn(binary, ['-addr', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    greeter.#child = child;
    greeter.#exited = once(child, 'close').finally(() => running.delete(child));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        greeter.output += text;
        child.emit('output');
      });
    }
    t.after(() => greeter.stop('SIGKILL'));
    [, greeter.url] = await greeter.printed(/msg=listening url=(\S+)/);
    return greeter;
  }

  // ws is the WebSocket's address, with a query if one is given.
  ws(query = '') {
    return `${this.url.replace('http', 'ws')}ws${query}`;
  }

  // printed waits until the output matches pattern and returns the match.
  async printed(pattern) {
    for (;;) {
      const match = this.output.match(pattern);
      if (match) return match;
      const exited = await Promise.race([once(this.#child, 'output').then(() => false), this.#exited.then(() => true)]);
      if (exited && !pattern.test(this.output)) throw new Error(`the greeter ended without ${pattern}:\n${this.output}`);
    }
  }

  // stop sends signal and waits for the end. It returns the exit code, or the signal that ended it.
  async stop(signal) {
    this.#child.kill(signal);
    const [code, by] = await this.#exited;
    return code ?? by;
  }
}
