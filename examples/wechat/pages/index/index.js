'use strict';

const { Client } = require('../../utils/socket');
const { dial } = require('../../utils/wx');

const shown = 50; // lines of the log on this page

const words = {
  closed: ['Connect', 'Not connected'],
  connecting: ['Connecting…', 'Connecting'],
  open: ['Disconnect', 'Connected'],
  closing: ['Closing…', 'Closing'],
  reconnecting: ['Stop', 'Connection lost'],
};

/** @param {string | ArrayBuffer} data */
const describe = (data) => (typeof data === 'string' ? data : `${data.byteLength} bytes`);

Page({
  data: {
    state: /** @type {keyof typeof words} */ ('closed'),
    caption: words.closed[0],
    status: words.closed[1],
    text: '',
    suggestion: 'hello 1', // sent if the field is empty
    lines: /** @type {import('../../utils/log').Line[]} */ ([]),
    last: '',
    editing: false,
    nickname: 'Guest',
    initial: 'G',
    avatarUrl: '',
  },

  client: /** @type {InstanceType<typeof Client>} */ (/** @type {unknown} */ (null)),
  greetings: 1,

  onLoad() {
    this.client = new Client(dial, getApp().globalData.socket, {
      change: () => this.show(),
      open: () => this.log('open', getApp().globalData.socket.url.split('?')[0]), // the query may have a token
      message: (data) => this.log('message', describe(data)),
      send: (data) => this.log('send', describe(data)),
      queue: (data) => this.log('queue', describe(data)),
      expire: (data) => this.log('expire', describe(data)),
      error: (text) => this.log('error', text),
      close: (code, reason) => this.log('close', `${code} ${reason}`.trim()),
      retry: (delay) => this.log('retry', `in ${(delay / 1000).toFixed(1)} s`),
    });
  },

  // onShow is also called when the program comes back from the background. WeChat may have cut the connection meanwhile.
  onShow() {
    this.client.wake();
  },

  onUnload() {
    this.client.close(1000, 'page closed');
  },

  toggle() {
    const { state } = this.client;
    if (state === 'closed') this.client.connect();
    else if (state === 'open' || state === 'reconnecting') this.client.close(1000, 'bye');
  },

  /** @param {WechatMiniprogram.Input} event */
  type(event) {
    this.setData({ text: event.detail.value });
  },

  send() {
    const { text, suggestion } = this.data;
    if (!this.transmit(text || suggestion)) return; // the text stays in the field
    if (text === '') this.greetings++;
    this.setData({ text: '', suggestion: `hello ${this.greetings}` });
  },

  sendBytes() {
    this.transmit(new Uint8Array([0, 1, 254, 255]));
  },

  /** @param {string | Uint8Array} data */
  transmit(data) {
    try {
      this.client.send(data);
      return true;
    } catch (err) {
      this.log('error', /** @type {Error} */ (err).message);
      return false;
    }
  },

  show() {
    const { state, waiting } = this.client;
    if (state !== this.data.state) {
      if (state === 'connecting' || state === 'closing') {
        wx.showToast({ title: words[state][0], icon: 'loading', duration: 15 * 1000 });
      } else {
        wx.hideToast();
      }
    }
    const [caption, status] = words[state];
    this.setData({ state, caption, status: waiting === 0 ? status : `${status}, ${waiting} waiting` });
  },

  /** @param {string} kind @param {string} text */
  log(kind, text) {
    const { log } = getApp().globalData;
    log.add(kind, text);
    const lines = log.lines.slice(-shown);
    this.setData({ lines, last: `line-${lines[lines.length - 1].id}` });
  },

  openLogs() {
    wx.navigateTo({ url: '/pages/logs/logs' });
  },

  edit() {
    this.setData({ editing: true });
  },

  /** @param {WechatMiniprogram.CustomEvent<{ avatarUrl: string }>} event */
  chooseAvatar(event) {
    this.setData({ avatarUrl: event.detail.avatarUrl }); // a file that WeChat keeps for this session only
  },

  /** @param {WechatMiniprogram.FormSubmit} event */
  saveUser(event) {
    const nickname = event.detail.value.nickname || 'Guest';
    this.setData({ editing: false, nickname, initial: Array.from(nickname)[0] });
  },
});
