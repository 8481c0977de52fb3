// Starts and stops examples/wechat/server.
import { Program, artifact } from '../program.js';

export class WeChatServer extends Program {
  static binary = artifact('wechat-server');
}
