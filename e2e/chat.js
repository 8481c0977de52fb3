// Starts examples/chat, as scripts/e2e.sh has built it, and people who talk there: tabs of a browser.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const patience = 15_000; // ms for one step in the browser
const artifact = (name) => fileURLToPath(new URL(`artifacts/${name}`, import.meta.url));

// Nothing may outlive a run, one that is interrupted or timed out included.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

// startChat starts the program, to be killed at the end of test t if it still runs then, and returns its page's address
// and a stop that waits for the exit code.
export async function startChat(t, addr = '127.0.0.1:0') {
  const child = spawn(artifact('chat'), ['-addr', addr], { stdio: ['ignore', 'pipe', 'inherit'] });
  running.add(child);
  const exited = once(child, 'close').finally(() => running.delete(child));
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
    child.emit('output');
  });
  while (!/msg=listening url=\S+\n/.test(output)) {
    const exit = await Promise.race([once(child, 'output').then(() => null), exited]);
    assert.equal(exit, null, `the chat ended without listening:\n${output}`);
  }
  return {
    url: output.match(/msg=listening url=(\S+)/)[1],
    async stop(signal) {
      child.kill(signal);
      return (await exited)[0];
    },
  };
}

export function launchBrowser() {
  const executablePath = process.env.CHROMIUM ??
    ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  assert.ok(executablePath, 'no Chromium found: run `make e2e`, or name one in $CHROMIUM');
  return chromium.launch({
    executablePath,
    chromiumSandbox: false, // root needs that
    timeout: 60_000,
    args: [
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
}

// openWindow opens a browser window, in which tabs are opened, until the end of test t.
export async function openWindow(t, browser, options = {}) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  context.setDefaultTimeout(patience);
  // read returns an entry of the log as text: "who: text", or a notice.
  await context.addInitScript(() => {
    window.read = (entry) => {
      const who = entry.querySelector('.who');
      return who ? `${who.textContent}: ${entry.querySelector('p').firstChild.textContent}` : entry.textContent;
    };
  });
  return context;
}

// Person is somebody at a tab, who uses what is to be seen there.
export class Person {
  problems = [];

  constructor(page) {
    this.page = page;
    page.on('pageerror', (err) => this.problems.push(err.message));
  }

  // come opens a tab, by its address or as it is, and joins.
  static async come(context, url, name, room) {
    const person = new Person(await context.newPage());
    await person.page.goto(url);
    await person.join(name, room);
    return person;
  }

  async join(name, room) {
    if (room !== undefined) await this.page.getByLabel('Room').fill(room);
    await this.page.getByLabel('Nickname').fill(name);
    await this.page.getByRole('button', { name: 'Join' }).click();
    await this.isThere();
  }

  async isThere() {
    await this.page.getByRole('status').filter({ hasText: /^Here as / }).waitFor();
  }

  async say(text) {
    await this.page.getByLabel('Message').fill(text);
    await this.page.getByLabel('Message').press('Enter');
  }

  // sees waits until the log's last entry, without the time, is this one.
  async sees(entry) {
    await this.page.waitForFunction((want) => {
      const last = document.querySelector('#log').lastElementChild;
      return last && want === window.read(last);
    }, entry, { polling: 50 }).catch(async (err) => {
      assert.fail(`want ${JSON.stringify(entry)} at the end of ${JSON.stringify(await this.log())}: ${err.message}`);
    });
  }

  // log returns the entries without the first, a hint.
  log() {
    return this.page.evaluate(() => [...document.querySelectorAll('#log > *')].slice(1).map(window.read));
  }

  screenshot(name) {
    return this.page.screenshot({ path: artifact(`chat-${name}.png`) });
  }
}
