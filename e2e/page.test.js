// Drives the greeter's page in a browser, by its real buttons. Screenshots go to artifacts/.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { Greeter, limit } from './greeter.js';

const patience = 15_000; // ms for one step in the browser

let browser;
before(async () => {
  const executablePath = process.env.CHROMIUM ??
    ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  assert.ok(executablePath, 'no Chromium found: run `make e2e`, or name one in $CHROMIUM');
  browser = await chromium.launch({
    executablePath,
    chromiumSandbox: false, // root needs that
    timeout: 60_000,
    args: [
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
});
after(() => browser?.close());

// open opens the greeter's page in a window of its own and returns what a person finds there.
async function open(t, greeter, { query = '', ...options } = {}) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', (err) => problems.push(err.message));
  await page.goto(greeter.url + query);
  const button = page.getByRole('button', { name: /^(Connect|Connecting…|Disconnect|Closing…)$/ });
  return {
    page,
    problems,
    button,
    status: page.getByRole('status'),
    // caption waits for the connect button's caption.
    caption: (text) => page.getByRole('button', { name: text, exact: true }).waitFor(),
    // send types a line and presses the send button.
    async send(text) {
      await page.getByLabel('Message').fill(text);
      await page.getByRole('button', { name: 'Send' }).click();
    },
    // logged waits until the log has n lines and returns them, without the time: "kind text".
    async logged(n) {
      await page.locator('#log p').nth(n - 1).waitFor();
      return page.locator('#log p').evaluateAll((lines) =>
        lines.map((line) => [...line.children].slice(1).map((part) => part.textContent).join(' ')));
    },
    screenshot: (name) => page.screenshot({ path: fileURLToPath(new URL(`artifacts/${name}.png`, import.meta.url)) }),
  };
}

test('queues, connects, converses and disconnects', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = await open(t, greeter, { query: '?token=s3cret' });
  await client.caption('Connect');
  await client.button.evaluate((button) => {
    window.captions = [button.textContent];
    new MutationObserver(() => {
      if (button.textContent !== window.captions.at(-1)) window.captions.push(button.textContent);
    }).observe(button, { childList: true });
  });

  await client.send('written early');
  await client.send('and another');
  assert.equal(await client.status.textContent(), 'Not connected, 2 waiting');

  await client.button.click();
  await client.caption('Disconnect');
  assert.equal(await client.status.textContent(), 'Connected');
  await client.logged(8);
  await client.send('hello');
  await client.logged(10);

  await client.button.click();
  await client.caption('Connect');
  const lines = await client.logged(11);
  const host = new URL(greeter.url).host;
  assert.deepEqual(lines.slice(0, 5), [
    'queue written early', 'queue and another', `open ${host}/ws`, 'send written early', 'send and another',
  ]);
  assert.deepEqual(lines.slice(5, 8), ['message something', 'message something123', 'message something123']);
  assert.deepEqual(lines.slice(8, 10), ['send hello', 'message something123']);
  assert.match(lines[10], /^close 1000\b/);
  assert.deepEqual(await client.page.evaluate(() => window.captions),
    ['Connect', 'Connecting…', 'Disconnect', 'Closing…', 'Connect']);
  assert.deepEqual(client.problems, []);

  await greeter.printed(/msg=close .*code=1000/);
  const data = [...greeter.output.matchAll(/data=(?:"([^"]*)"|(\S+))/g)].map(([, quoted, word]) => quoted ?? word);
  assert.deepEqual(data, ['written early', 'and another', 'hello']);
  assert.doesNotMatch(greeter.output, /s3cret|token/);
});

test('keeps what was typed when the queue is full', limit, async (t) => {
  const client = await open(t, await Greeter.start(t));
  for (let i = 1; i <= 50; i++) await client.send(`line ${i}`);
  await client.send('one too many');
  const lines = await client.logged(51);
  assert.match(lines[50], /^error 50 messages wait already/);
  assert.equal(await client.page.getByLabel('Message').inputValue(), 'one too many');
});

test('shows that the server went away, and connects again', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = await open(t, greeter);
  await client.button.click();
  await client.logged(2);
  assert.equal(await greeter.stop('SIGTERM'), 0);
  await client.caption('Connect');
  assert.match((await client.logged(3))[2], /^close 1001\b/);

  await client.button.click(); // nobody listens now
  const lines = await client.logged(5);
  assert.match(lines[3], /^error /);
  assert.match(lines[4], /^close 1006\b/);
  await client.caption('Connect');
});

test('shows that the server was killed', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = await open(t, greeter);
  await client.button.click();
  await client.logged(2);
  assert.equal(await greeter.stop('SIGKILL'), 'SIGKILL');
  await client.caption('Connect');
  assert.match((await client.logged(3)).at(-1), /^close 1006\b/);
});

test('works with the keyboard alone', limit, async (t) => {
  const client = await open(t, await Greeter.start(t));
  await client.page.keyboard.press('Tab');
  await client.page.keyboard.press('Enter');
  await client.caption('Disconnect');
  await client.page.keyboard.press('Tab');
  await client.page.keyboard.type('typed');
  await client.page.keyboard.press('Enter');
  assert.deepEqual((await client.logged(4)).slice(2), ['send typed', 'message something123']);
});

const phone = { width: 360, height: 640 };
const desktop = { width: 1024, height: 720 };
for (const colorScheme of ['light', 'dark']) {
  for (const [device, viewport] of Object.entries({ desktop, phone })) {
    test(`fits a ${device} in ${colorScheme}`, limit, async (t) => {
      const greeter = await Greeter.start(t);
      const client = await open(t, greeter, { viewport, colorScheme });
      await client.screenshot(`${device}-${colorScheme}-before`);
      await client.send('written before the socket was open');
      await client.button.click();
      await client.logged(5);
      await client.send('a long word: ' + 'hail'.repeat(40));
      await client.logged(7);
      const width = await client.page.evaluate(() => document.documentElement.scrollWidth);
      assert.equal(width, viewport.width, 'the page scrolls sideways');
      await client.screenshot(`${device}-${colorScheme}-open`);
      await greeter.stop('SIGTERM');
      await client.logged(8);
      await client.page.getByLabel('Message').fill('for later');
      await client.page.getByRole('button', { name: 'Send' }).click();
      await client.screenshot(`${device}-${colorScheme}-closed`);
    });
  }
}
