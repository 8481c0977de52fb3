// The mini program in glass-easel, WeChat's newer component framework, in Chromium with the browser's WebSocket.
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { TmplGroup } from 'glass-easel-template-compiler';
import { openInBrowser } from './in-browser.js';
import { WeChatServer } from './wechat-server.js';

const root = new URL('../../../examples/wechat/', import.meta.url);
const { resolve } = createRequire(import.meta.url);
const read = (path) => readFileSync(new URL(path, root), 'utf8');
const readModule = (name) => readFileSync(resolve(name).replace(/\.js$/, '.es.js'), 'utf8');

const config = JSON.parse(read('app.json'));
const names = [
  'app.json', 'app.js', 'app.wxss',
  ...readdirSync(new URL('utils', root)).map((name) => `utils/${name}`),
  ...config.pages.flatMap((page) => ['json', 'js', 'wxss'].map((ending) => `${page}.${ending}`)),
];
const files = Object.fromEntries(names.map((name) => [name, read(name)]));

function compile() {
  const group = new TmplGroup();
  for (const page of config.pages) {
    const problems = group.addTmpl(page, read(`${page}.wxml`));
    if (problems.length > 0) throw new Error(`${page}.wxml: ${JSON.stringify(problems)}`);
  }
  return group.getTmplGenObjectGroups();
}
const templates = compile();

const readHere = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const modules = {
  'host.js': () => readHere('easel-host.js'),
  'built-ins.js': () => readHere('easel-built-ins.js'),
  'wx.js': () => readHere('wx.js'),
  'glass-easel.js': () => readModule('glass-easel'),
  'adapter.js': () => readModule('glass-easel-miniprogram-adapter').replaceAll('from"glass-easel"', 'from"./glass-easel.js"'),
};

// The effects of WeChat's own style sheet and windows.
const baseStyle = `
  body { margin: 0; font-family: system-ui, sans-serif; }
  view, main, form, scroll-view { display: block; }
  [hidden] { display: none !important; }
  image { background: center / cover; }
  button, input { font: inherit; }
  input::placeholder { color: var(--soft); opacity: 1; } /* placeholder-class */
  scroll-view { overflow-y: auto; }
  .toast {
    position: fixed; top: 40%; left: 50%; padding: 1rem 1.5rem; transform: translateX(-50%);
    border-radius: .5rem; background: #4c4c4c; color: #fff;
  }
`;

export const easel = {
  name: 'glass-easel',
  start: (t, ...flags) => WeChatServer.start(t, ...flags),
  refusing: (t) => WeChatServer.start(t, '-token', 's3cret'),
  echoesBytes: true,
  isMiniProgram: true,

  // open opens the program. The document is the server's own: Chromium allows no other to connect to loopback.
  open(t, server, { colorScheme = 'light', viewport = { width: 390, height: 780 }, ...socket } = {}) {
    const id = (name) => `main:not([hidden]) [id$="--${name}"]`;
    return openInBrowser(t, server.url, {
      options: { hasTouch: true, isMobile: true, deviceScaleFactor: 2, colorScheme, viewport },
      find: {
        connect: '[id$="--connect"]', status: '.status', lines: '.log .line', field: id('text'), send: id('send'),
      },
      async mount(page) {
        await page.route('**/host/*', (route) =>
          route.fulfill({ contentType: 'text/javascript', body: modules[route.request().url().split('/').at(-1)]() }));
        await page.evaluate(() => {
          document.head.innerHTML = '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">';
          document.body.replaceChildren();
        });
        await page.addStyleTag({ content: baseStyle });
        await page.evaluate(async (program) => {
          const { host } = await import('/host/host.js');
          window.hosted = host(program);
        }, { files, templates, socket: { url: server.ws(), ...socket } });
      },
      hand: (page, tap) => ({
        sendBytes: () => tap(id('bytes')),
        suspend: () => page.evaluate(() => window.hosted.suspend()),
        resume: (order) => page.evaluate((order) => window.hosted.resume(order), order),
        back: () => page.evaluate(() => window.hosted.back()),
        toasts: () => page.evaluate(() => window.toasts),
        async logPage() {
          await tap(id('user'));
          const lines = page.locator('main:not([hidden]) .logs .line');
          await lines.first().waitFor();
          return lines.evaluateAll((lines) => lines.map((line) => [...line.children].map((part) => part.textContent)));
        },
        async become(nickname, avatarUrl) {
          await tap(id('edit'));
          await page.evaluate((url) => { window.chosenAvatar = url; }, avatarUrl);
          await tap(id('avatar'));
          await page.locator(id('nickname')).fill(nickname);
          await tap(id('save'));
          const image = page.locator(`${id('user')} image`);
          await image.waitFor();
          return {
            nickname: await page.locator(`${id('user')} .nickname`).textContent(),
            avatar: await image.evaluate(({ style }) => JSON.parse(style.backgroundImage.slice(4, -1))),
          };
        },
      }),
    });
  },
};
