// Starts and stops examples/greeter.
import { Program, artifact } from './program.js';

export { limit } from './program.js';

export class Greeter extends Program {
  static binary = artifact('greeter');
}
