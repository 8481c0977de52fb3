// Common code of the clients that run in Chromium.
import { Client, patience } from './client.js';
import { newPage } from '../browser.js';

// openInBrowser opens url, prepares it by mount, and returns a client of the page. find gives the selectors of its
// connect button, status, log lines, field, send button; hand has the other methods of a client.
export async function openInBrowser(t, url, { options, find, mount = () => {}, hand = () => ({}) }) {
  const { page, problems } = await newPage(t, options, patience);
  await page.goto(url);
  await mount(page);
  const tap = (selector) => page.locator(selector)[options?.hasTouch ? 'tap' : 'click']();
  const client = new Client({
    page,
    problems,
    tap,
    connect: () => tap(find.connect),
    async send(text) {
      await page.locator(find.field).fill(text);
      await tap(find.send);
    },
    later: (ms) => page.evaluate((ms) => {
      const { now } = Date;
      Date.now = () => now() + ms;
    }, ms),
    chance: (value) => page.evaluate((value) => {
      Math.random = () => value;
    }, value),
    captions: () => page.evaluate(() => window.captions),
    read: () => page.evaluate((find) => ({
      caption: document.querySelector(find.connect).textContent,
      status: document.querySelector(find.status).textContent,
      lines: [...document.querySelectorAll(find.lines)].map((line) =>
        [...line.children].filter((part) => part.tagName !== 'TIME').map((part) => part.textContent).join(' ').trim()),
    }), find),
    ...hand(page, tap),
  });
  await page.exposeFunction('changed', () => client.emit('change'));
  await page.evaluate((find) => {
    const caption = () => document.querySelector(find.connect)?.textContent;
    window.captions = [caption()];
    new MutationObserver(() => {
      if (caption() !== window.captions.at(-1)) window.captions.push(caption());
      window.changed();
    }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  }, find);
  return client;
}
