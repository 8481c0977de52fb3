// The mini program in miniprogram-simulate: WXML by WeChat's own compiler, pages by its exparser, in jsdom,
// with the ws package as wx's transport.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { JSDOM } from 'jsdom';
import { WebSocket } from 'ws';
import { Client } from './client.js';
import { WeChatServer } from './wechat-server.js';
import { newWeChat } from './wx.js';

const { window } = new JSDOM('<!doctype html><body>', { url: 'https://mini.program/' });
for (const name of ['window', 'document', 'Element', 'Event', 'CustomEvent', 'TouchEvent']) {
  globalThis[name] = name === 'window' ? window : window[name];
}
const require = createRequire(import.meta.url);
const wcc = require.resolve(`miniprogram-compiler/bin/${{ darwin: 'mac', win32: 'windows' }[process.platform] ?? 'linux'}/wcc${process.platform === 'win32' ? '.exe' : ''}`);
const simulate = require('miniprogram-simulate');

const root = fileURLToPath(new URL('../../../examples/wechat', import.meta.url));
const referer = 'https://servicewechat.com/wx0123456789abcdef/17/page-frame.html';

// On a phone the program's requests have this Referer, and no Origin.
class PhoneSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { headers: { Referer: referer } });
  }
}

// A page is a component whose functions are methods.
globalThis.Page = ({ data, ...rest }) => {
  const isMethod = ([, value]) => typeof value === 'function';
  const own = Object.entries(rest);
  Component({
    data,
    methods: Object.fromEntries(own.filter(isMethod)),
    lifetimes: {
      created() { Object.assign(this, Object.fromEntries(own.filter((entry) => !isMethod(entry)))); },
      attached() {
        this.onLoad?.({});
        this.onShow?.();
      },
      detached() { this.onUnload?.(); },
    },
  });
};

// load runs the app and opens a page of it, until test t ends.
function load(t, path, changed) {
  const page = simulate.render(simulate.load(`${root}/${path}`, { compiler: 'official', rootPath: root }));
  page.attach(document.body.appendChild(document.createElement('div')));
  t.after(() => page.detach());
  const observer = new window.MutationObserver(changed);
  observer.observe(page.dom, { subtree: true, childList: true, characterData: true });
  t.after(() => observer.disconnect());
  return page;
}

export const tap = (element) => {
  element.dispatchEvent('touchstart');
  element.dispatchEvent('touchend');
};

// linesOf returns the text of each line of a log, part by part.
const linesOf = (page) => page.querySelectorAll('.line').map(({ dom }) => [...dom.children].map((part) => part.textContent));

export const simulated = {
  name: 'miniprogram-simulate',
  skip: spawnSync(wcc, ['-h']).error && "WeChat's compiler, a program for x86-64, does not run here",
  start: (t, ...flags) => WeChatServer.start(t, ...flags),
  refusing: (t) => WeChatServer.start(t, '-token', 's3cret'),
  echoesBytes: true,
  tellsStatus: true,
  isMiniProgram: true,

  // open opens the index page. options are those of the client module.
  async open(t, server, options = {}) {
    globalThis.App = (app) => { globalThis.getApp = () => app; };
    delete require.cache[require.resolve(`${root}/app.js`)];
    require(`${root}/app.js`);
    Object.assign(getApp().globalData.socket, { url: server.ws(), ...options });

    const toasts = [];
    const opened = [];
    const weChat = newWeChat(PhoneSocket, {
      toast: (title) => toasts.push(title),
      navigate: (url) => opened.push(load(t, url.slice(1), () => {})),
    });
    globalThis.wx = weChat.wx;

    const seen = [];
    const caption = () => page.querySelector('#connect').dom.textContent;
    const look = () => { if (caption() !== seen.at(-1)) seen.push(caption()); };
    const page = load(t, 'pages/index/index', () => {
      look();
      client.emit('change');
    });
    look();
    const client = new Client({
      page,
      connect: () => tap(page.querySelector('#connect')),
      async send(text) {
        page.querySelector('#text').dispatchEvent('input', { detail: { value: text } });
        await client.until('the field has it', () => page.data.text === text);
        tap(page.querySelector('#send'));
        await simulate.sleep();
      },
      async sendBytes() {
        tap(page.querySelector('#bytes'));
        await simulate.sleep();
      },
      later(ms) {
        const { now } = Date;
        t.mock.method(Date, 'now', () => now() + ms);
      },
      suspend: () => weChat.suspend(),
      resume: (order) => weChat.resume(() => page.instance.onShow(), order),
      back: () => page.instance.onShow(),
      toasts: () => toasts,
      chance: (value) => t.mock.method(Math, 'random', () => value),
      captions: () => seen,
      read: () => ({
        caption: caption(),
        status: page.querySelector('.status').dom.textContent,
        lines: linesOf(page).map((parts) => parts.join(' ').trim()),
      }),
      // logPage taps the user's name and returns the log page's lines: time, kind, text.
      async logPage() {
        tap(page.querySelector('#user'));
        await simulate.sleep();
        return linesOf(opened.at(-1));
      },
      // become fills in avatar and nickname, and returns them as shown.
      async become(nickname, avatarUrl) {
        tap(page.querySelector('#edit'));
        await client.until('the form', () => page.querySelector('#avatar'));
        page.querySelector('#avatar').dispatchEvent('chooseavatar', { detail: { avatarUrl } });
        page.querySelector('#form').dispatchEvent('submit', { detail: { value: { nickname } } });
        await client.until('the user', () => page.querySelector('#user'));
        return { nickname: page.querySelector('.nickname').dom.textContent, avatar: page.data.avatarUrl };
      },
    });
    return client;
  },
};
