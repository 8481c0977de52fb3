// The greeter's page in a browser, apart from the tests that every client has. Screenshots go to artifacts/.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { closeBrowser } from './browser.js';
import { page } from './clients/page.js';
import { Greeter, limit } from './greeter.js';
import { artifact } from './program.js';

after(closeBrowser);

test('runs the client that the mini program has, and keeps a token out of the log', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = await page.open(t, greeter, { query: '?token=s3cret' });
  await client.connect();
  await client.logged(/^message something$/);
  assert.equal((await client.read()).lines[0], `open ${new URL(greeter.url).host}/ws`);
  await client.connect();
  await greeter.printed(/msg=close .*code=1000/);
  assert.doesNotMatch(greeter.output, /s3cret|token/);
  assert.deepEqual(client.problems, []);
});

test('keeps what was typed when the queue is full', limit, async (t) => {
  const client = await page.open(t, await Greeter.start(t));
  for (let i = 1; i <= 50; i++) await client.send(`line ${i}`);
  await client.send('one too many');
  assert.deepEqual(await client.logged(/^error /), ['error 50 messages wait already: connect first']);
  assert.equal(await client.page.getByLabel('Message').inputValue(), 'one too many');
});

test('says why it cannot be pressed', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = await page.open(t, greeter);
  const pressable = () => client.page.locator('#connect').getAttribute('aria-disabled');
  greeter.signal('SIGSTOP');
  await client.connect();
  await client.captioned('Connecting…');
  assert.equal(await pressable(), 'true');
  greeter.signal('SIGCONT');
  await client.captioned('Disconnect');
  assert.equal(await pressable(), 'false');
});

test('works with the keyboard alone', limit, async (t) => {
  const client = await page.open(t, await Greeter.start(t));
  const { keyboard } = client.page;
  await keyboard.press('Tab');
  await keyboard.press('Enter');
  await client.captioned('Disconnect');
  await keyboard.press('Tab');
  await keyboard.type('typed');
  await keyboard.press('Enter');
  await client.logged(/^send typed$/);
  await client.logged(/^message something123$/);
});

const phone = { width: 360, height: 640 };
const desktop = { width: 1024, height: 720 };
for (const colorScheme of ['light', 'dark']) {
  for (const [device, viewport] of Object.entries({ desktop, phone })) {
    test(`fits a ${device} in ${colorScheme}`, limit, async (t) => {
      const greeter = await Greeter.start(t);
      const client = await page.open(t, greeter, { viewport, colorScheme });
      const screenshot = async (name) => {
        const width = await client.page.evaluate(() => document.documentElement.scrollWidth);
        assert.equal(width, viewport.width, 'the page scrolls sideways');
        await client.page.screenshot({ path: artifact(`${device}-${colorScheme}-${name}.png`) });
      };
      await screenshot('before');
      await client.send('written before the socket was open');
      await client.connect();
      await client.logged(/^message something123$/);
      await client.send('a long word: ' + 'hail'.repeat(40));
      await client.logged(/^message something123$/, 2);
      await screenshot('open');
      await client.chance(0.9);
      await greeter.stop('SIGTERM');
      await client.captioned('Stop');
      await client.send('for later');
      await screenshot('lost');
    });
  }
}
