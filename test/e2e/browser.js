// A headless Chromium for a test file.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

let launched;

// browser returns the file's Chromium. The first call starts it.
export function browser() {
  launched ??= launch();
  return launched;
}

// closeBrowser is for the file's `after`.
export async function closeBrowser() {
  await (await launched)?.close();
}

async function launch() {
  const executablePath = process.env.CHROMIUM ??
    ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  assert.ok(executablePath, 'no Chromium found: run `make e2e`, or name one in $CHROMIUM');
  return chromium.launch({
    executablePath,
    chromiumSandbox: false, // root needs that
    timeout: 60_000,
    args: [
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
}

// newPage returns a page in a window of its own, until test t ends, and the errors thrown in it.
export async function newPage(t, options, patience) {
  const context = await (await browser()).newContext(options);
  t.after(() => context.close());
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', (err) => problems.push(err.message));
  return { page, problems };
}
