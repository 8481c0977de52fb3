// examples/chat, and people who talk in it: tabs of a browser.
import assert from 'node:assert/strict';
import { browser } from './browser.js';
import { Program, artifact } from './program.js';

export { limit } from './program.js';

const patience = 15_000; // ms for one step in the browser

export class Chat extends Program {
  static binary = artifact('chat');
}

// openWindow opens a browser window, in which tabs are opened, until the end of test t.
export async function openWindow(t, options = {}) {
  const context = await (await browser()).newContext(options);
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

// Person is a user of a tab, who uses only visible elements.
export class Person {
  problems = [];

  constructor(page) {
    this.page = page;
    page.on('pageerror', (err) => this.problems.push(err.message));
  }

  // come opens a tab, at an address if one is given, and joins.
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

  // sees waits until this is the log's last entry, without the time.
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
