// The greeter's page in Chromium.
import { Greeter } from '../greeter.js';
import { startProxy } from '../proxy.js';
import { openInBrowser } from './in-browser.js';

export const page = {
  name: 'browser page',
  start: (t, ...flags) => Greeter.start(t, ...flags),
  // A page is refused if the server's Host is not that of the page's Origin.
  refusing: async (t) => startProxy(t, await Greeter.start(t)),
  echoesBytes: false,

  open(t, server, { query = '', ...options } = {}) {
    return openInBrowser(t, server.url + query, {
      options,
      find: { connect: '#connect', status: '#status', lines: '#log p', field: '#text', send: '#send' },
      hand: (page) => ({
        // The page has no button for bytes, and a field of at most 4000 characters.
        sendBytes: () => page.evaluate(() => transmit(new Uint8Array([0, 1, 254, 255]))),
        sendLong: (text) => page.evaluate((text) => transmit(text), text),
        back: () => page.evaluate(() => window.dispatchEvent(new Event('online'))),
      }),
    });
  },
};
