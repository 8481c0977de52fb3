// Starts and stops a program under test, as scripts/e2e.sh has built it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

// limit bounds each test, so a test that hangs is named.
export const limit = { timeout: 60_000 };

export const artifact = (name) => fileURLToPath(new URL(`artifacts/${name}`, import.meta.url));

// No process may outlive a run, even one that is interrupted or times out.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

// Program is a server that prints `msg=listening url=...` when it listens on its -addr.
export class Program {
  #child;
  #exited;
  #again;
  output = ''; // all of stdout and stderr so far
  url = '';    // its page's address

  // start starts one on a free port, to be killed at the end of test t if it still runs then.
  static start(t, ...args) {
    return new this().#run(t, '127.0.0.1:0', args);
  }

  async #run(t, addr, args) {
    this.#again = (host) => new this.constructor().#run(t, host, args);
    const child = spawn(this.constructor.binary, ['-addr', addr, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    this.#child = child;
    this.#exited = once(child, 'close').finally(() => running.delete(child));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.output += text;
        child.emit('output');
      });
    }
    t.after(() => this.stop('SIGKILL'));
    [, this.url] = await this.printed(/msg=listening url=(\S+)/);
    return this;
  }

  // again starts one like it, on the same port, after this one was stopped.
  again() {
    return this.#again(new URL(this.url).host);
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
      if (exited && !pattern.test(this.output)) throw new Error(`the program ended without ${pattern}:\n${this.output}`);
    }
  }

  // messages waits for count messages and returns them as printed: text, or bytes in hexadecimal.
  async messages(count) {
    if (count > 0) await this.printed(new RegExp(`(?:msg=message [^]*){${count}}\n`));
    return [...this.output.matchAll(/msg=message .*data=(?:"(.*)"|(\S*))/g)].map(([, quoted, word]) => quoted ?? word);
  }

  // signal sends a signal that does not end it, such as SIGSTOP.
  signal(signal) {
    this.#child.kill(signal);
  }

  // stop sends signal and waits for the end. It returns the exit code, or the signal that ended it.
  async stop(signal) {
    this.#child.kill(signal);
    const [code, by] = await this.#exited;
    return code ?? by;
  }
}
