// People who talk in examples/chat, each in a tab of a real browser. Screenshots go to artifacts/.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { closeBrowser } from './browser.js';
import { Chat, Person, limit, openWindow } from './chat.js';

after(closeBrowser);

test('two tabs talk in a room, and a third in another room hears nothing', limit, async (t) => {
  const chat = await Chat.start(t);
  const window = await openWindow(t, { viewport: { width: 640, height: 560 } });
  const mallory = await Person.come(window, chat.url, 'Mallory', 'coffee');
  const alice = await Person.come(window, chat.url, 'Alice', 'tea');

  // The second tab is the one that the page offers.
  const opened = window.waitForEvent('page');
  await alice.page.getByRole('link', { name: 'another tab' }).click();
  const bob = new Person(await opened);
  assert.equal(await bob.page.getByLabel('Room').inputValue(), 'tea');
  assert.equal(await bob.page.getByLabel('Nickname').inputValue(), '', 'another tab is another person');
  await bob.join('Bob');

  await alice.sees('Bob joined');
  await alice.say('Tea is ready.');
  await bob.sees('Alice: Tea is ready.');
  await bob.say('On my way!');
  await bob.say('<b>Two sugars</b><img src=x onerror=alert(1)>');
  await alice.sees('Bob: <b>Two sugars</b><img src=x onerror=alert(1)>');
  await alice.say('Noted: ' + 'sugar'.repeat(40));
  await bob.sees('Alice: Noted: ' + 'sugar'.repeat(40));
  await alice.screenshot('alice');
  await bob.screenshot('bob');
  await mallory.say('Anybody here?');

  await bob.page.close();
  await alice.sees('Bob left');
  assert.deepEqual(await alice.log(), [
    'You joined', 'Bob joined', 'You: Tea is ready.', 'Bob: On my way!',
    'Bob: <b>Two sugars</b><img src=x onerror=alert(1)>', 'You: Noted: ' + 'sugar'.repeat(40), 'Bob left',
  ]);
  assert.deepEqual(await mallory.log(), ['You joined', 'You: Anybody here?']);
  for (const person of [alice, bob, mallory]) assert.deepEqual(person.problems, []);
});

test('comes back when the server does, with what was typed', limit, async (t) => {
  const chat = await Chat.start(t);
  const window = await openWindow(t);
  const alice = await Person.come(window, chat.url, 'Alice');
  assert.equal(await chat.stop('SIGTERM'), 0);
  await alice.sees('The connection was lost');
  await alice.say('Where was I?');
  assert.equal(await alice.page.getByLabel('Message').inputValue(), 'Where was I?');
  await alice.page.getByRole('status').filter({ hasText: /trying again in \d+ s/ }).waitFor();

  const again = await chat.again();
  await alice.isThere();
  await alice.sees('You are back, and may have missed something');
  const bob = await Person.come(window, again.url, 'Bob');
  await alice.sees('Bob joined');
  await alice.page.getByRole('button', { name: 'Send' }).click();
  await bob.sees('Alice: Where was I?');
  assert.deepEqual(alice.problems, []);
});

test('leaves, and joins another room', limit, async (t) => {
  const chat = await Chat.start(t);
  const window = await openWindow(t);
  const alice = await Person.come(window, chat.url, 'Alice');
  const bob = await Person.come(window, chat.url, 'Bob');
  await alice.sees('Bob joined');
  await bob.page.getByRole('button', { name: 'Leave' }).click();
  await alice.sees('Bob left');
  await bob.join('Robert', 'garden');
  assert.deepEqual(await bob.log(), ['You joined']);
  assert.equal(new URL(bob.page.url()).searchParams.get('room'), 'garden');
});

test('does not ask again for a room that the server refuses', limit, async (t) => {
  const chat = await Chat.start(t);
  const alice = new Person(await (await openWindow(t)).newPage());
  await alice.page.goto(chat.url);
  await alice.page.getByLabel('Room').evaluate((input) => input.removeAttribute('maxlength'));
  await alice.page.getByLabel('Room').fill('x'.repeat(257));
  await alice.page.getByLabel('Nickname').fill('Alice');
  await alice.page.getByRole('button', { name: 'Join' }).click();
  await alice.page.getByText('The server refuses').waitFor();
  assert.ok(await alice.page.getByRole('button', { name: 'Join' }).isVisible());
});

const phone = { width: 360, height: 640 };
const desktop = { width: 1024, height: 720 };
for (const colorScheme of ['light', 'dark']) {
  for (const [device, viewport] of Object.entries({ desktop, phone })) {
    test(`the chat fits a ${device} in ${colorScheme}`, limit, async (t) => {
      const chat = await Chat.start(t);
      const window = await openWindow(t, { viewport, colorScheme });
      const alice = new Person(await window.newPage());
      await alice.page.goto(chat.url);
      await alice.screenshot(`${device}-${colorScheme}-door`);
      await alice.join('Alice', 'a room with quite a long name, to see');
      const bob = await Person.come(window, alice.page.url(), 'Bob of the long surname, that is');
      await alice.say('Hello, ' + 'hail'.repeat(60));
      await bob.sees('Alice: Hello, ' + 'hail'.repeat(60));
      for (const text of ['Hello!', 'And again.', 'שלום', '你好']) await bob.say(text);
      await alice.sees(`Bob of the long surname, that is: 你好`);
      await alice.screenshot(`${device}-${colorScheme}-room`);
      await chat.stop('SIGTERM');
      await alice.sees('The connection was lost');
      await alice.screenshot(`${device}-${colorScheme}-lost`);
      for (const { page } of [alice, bob]) {
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.equal(width, viewport.width, 'the page scrolls sideways');
      }
    });
  }
}
