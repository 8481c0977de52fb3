// The mini program's pages, apart from their messages to a server. Screenshots go to artifacts/.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { easel } from './clients/easel.js';
import { inEach, isMiniProgram } from './clients/index.js';
import { simulated } from './clients/simulate.js';
import { artifact, limit } from './program.js';

const picture = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><path fill="#2a7" d="M0 0h2v2H0z"/><circle cx="1" cy=".8" r=".4" fill="#fff"/><path fill="#fff" d="M.3 2a.7.7 0 0 1 1.4 0z"/></svg>')}`;

test('is whole', limit, () => {
  const root = new URL('../../examples/wechat/', import.meta.url);
  const json = (path) => JSON.parse(readFileSync(new URL(path, root), 'utf8'));
  const app = json('app.json');
  assert.deepEqual(app.pages, ['pages/index/index', 'pages/logs/logs']);
  for (const page of app.pages) {
    for (const ending of ['js', 'json', 'wxml', 'wxss']) {
      assert.ok(existsSync(new URL(`${page}.${ending}`, root)), `${page}.${ending} is missing`);
    }
  }
  const names = Object.values(app.window).filter((value) => value.startsWith('@')).map((value) => value.slice(1));
  for (const theme of Object.values(json(app.themeLocation))) assert.deepEqual(Object.keys(theme).sort(), names.sort());
  assert.ok(json(app.sitemapLocation).rules.length > 0);
  assert.equal(json('project.config.json').compileType, 'miniprogram');
  // Files that are not the program's are left out of its package.
  const ignored = json('project.config.json').packOptions.ignore.map(({ value }) => value);
  assert.deepEqual(ignored, ['server', 'package.json', '.go', '.md']);
});

inEach('shows who it is, and a tap on that the log', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  await client.connect();
  await client.logged(/^message something$/);
  assert.deepEqual(await client.become('张三', picture), { nickname: '张三', avatar: picture });
  const lines = await client.logPage();
  assert.deepEqual(lines.map(([, ...what]) => what), [['message', 'something'], ['open', server.ws()]]);
  for (const [time] of lines) assert.match(time, /^\d\d:\d\d:\d\d$/);
}, isMiniProgram);

inEach('an empty field sends what it suggests', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  for (const text of ['', 'typed', '']) await client.send(text);
  await client.connect();
  assert.deepEqual(await server.messages(3), ['hello 1', 'typed', 'hello 2']);
}, isMiniProgram);

inEach('tells the server its subprotocol', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  await client.connect();
  await server.printed(/msg=open .*subprotocol=greeter/);
}, isMiniProgram);

test('on a phone the server reads its appid and version, and no Origin stands in the way', { ...limit, skip: simulated.skip }, async (t) => {
  const server = await simulated.start(t);
  const client = await simulated.open(t, server);
  await client.connect();
  await server.printed(/msg=open .*app=wx0123456789abcdef version=17/);
});

for (const colorScheme of ['light', 'dark']) {
  for (const width of [320, 390]) {
    test(`fits a phone of ${width} in ${colorScheme}`, limit, async (t) => {
      const server = await easel.start(t);
      const client = await easel.open(t, server, { colorScheme, viewport: { width, height: 700 } });
      const screenshot = async (name) => {
        const { sideways, taken } = await client.page.evaluate(() => ({
          sideways: document.documentElement.scrollWidth > innerWidth,
          taken: [...document.querySelectorAll('main:not([hidden]) button, main:not([hidden]) input')]
            .map((element) => element.getBoundingClientRect())
            .filter(({ left, right, width, height }) => left < 0 || right > innerWidth || width < 40 || height < 36),
        }));
        assert.equal(sideways, false, `${name} scrolls sideways`);
        assert.deepEqual(taken, [], `${name} has buttons or fields that are cut off, or too small for a thumb`);
        await client.page.screenshot({ path: artifact(`miniprogram-${width}-${colorScheme}-${name}.png`) });
      };
      await client.become('李小龙', picture);
      await client.tap('[id$="--edit"]');
      await screenshot('edit');
      await client.tap('[id$="--save"]');
      await client.send('before it was open 你好');
      await screenshot('before');
      await client.connect();
      await client.logged(/^message something123$/);
      await client.sendBytes();
      await client.logged(/^message 4 bytes$/);
      await client.send('a long word: ' + 'hail'.repeat(30));
      await client.logged(/^message something123$/, 2);
      await screenshot('open');
      await server.stop('SIGKILL');
      await client.captioned('Stop');
      await client.logged(/^retry /);
      await client.send('for later');
      await screenshot('lost');
      await client.logPage();
      await screenshot('log');
    });
  }
}
