// The runtimes in which the client has to behave the same.
import { after, test } from 'node:test';
import { closeBrowser } from '../browser.js';
import { limit } from '../program.js';
import { easel } from './easel.js';
import { node } from './node.js';
import { page } from './page.js';
import { simulated } from './simulate.js';

const runtimes = [simulated, easel, page, node];

// inEach tests a behaviour in each runtime, or in those that fit.
export function inEach(behaviour, run, fits = () => true) {
  for (const runtime of runtimes.filter(fits)) {
    test(`${behaviour} (${runtime.name})`, { ...limit, skip: runtime.skip }, (t) => run(t, runtime));
  }
}

export const isMiniProgram = (runtime) => runtime.isMiniProgram;

after(closeBrowser);
