// Runs a mini program in a browser page, with glass-easel and its mini program adapter. The page loads this as a
// module, and passes it the program's files.
import * as glassEasel from './glass-easel.js';
import { MiniProgramEnv } from './adapter.js';
import { builtIns } from './built-ins.js';
import { newWeChat } from './wx.js';

glassEasel.globalOptions.writeIdToDOM = true;
glassEasel.globalOptions.throwGlobalError = true;

// newLoader returns require, for the program's files.
function newLoader(files, globals) {
  const loaded = {};
  const load = (path) => {
    const file = path.endsWith('.js') ? path : `${path}.js`;
    if (!loaded[file]) {
      loaded[file] = { exports: {} };
      const require = (to) => load(new URL(to, `file:///${file}`).pathname.slice(1));
      const names = Object.keys(globals);
      new Function('require', 'module', 'exports', ...names, files[file])(
        require, loaded[file], loaded[file].exports, ...names.map((name) => globals[name]));
    }
    return loaded[file].exports;
  };
  return load;
}

// toCSS turns WXSS into CSS: `page` is the page's container, and 750rpx are the window's width.
const toCSS = (wxss) => wxss
  .replace(/(^|[\s,}])page(?=\s*\{)/g, '$1body')
  .replace(/(-?[\d.]+)rpx/g, (_, n) => `${(n / 7.5).toFixed(4)}vw`);

// host runs the program: files by path, its templates compiled; socket is set in the app's globalData.socket.
export function host({ files, templates, socket }) {
  const config = JSON.parse(files['app.json']);
  const env = new MiniProgramEnv();
  const space = env.createCodeSpace('program', true);
  const globalSpace = env.getGlobalCodeSpace().getComponentSpace();
  for (const [tag, definition] of Object.entries(builtIns)) {
    space.getComponentSpace().setGlobalUsingComponent(tag, globalSpace.defineComponent({ is: `wx-${tag}`, ...definition }));
  }
  const context = new glassEasel.CurrentWindowBackendContext();
  context.onEvent((target, type, detail, options) => {
    const { value } = options.originalEvent?.target ?? {};
    const event = new glassEasel.Event(type, type === 'input' ? { value } : detail, options);
    glassEasel.Event.dispatchEvent(target, event);
    return event.getEventBubbleStatus();
  });
  const backend = env.associateBackend(context);
  const sheets = ['app', ...config.pages];
  for (const path of sheets) {
    space.addStyleSheet(path, path);
    backend.registerStyleSheetContent(path, toCSS(files[`${path}.wxss`]));
  }

  const pages = []; // those that are open, the visible one last
  const weChat = newWeChat(WebSocket, {
    toast(title) {
      window.toasts.push(title);
      document.querySelector('.toast')?.remove();
      if (title) document.body.append(Object.assign(document.createElement('div'), { className: 'toast', textContent: title }));
    },
    navigate: (url) => open(url.replace(/^\//, '')),
  });
  let app;
  const globals = { wx: weChat.wx, App: (definition) => { app = definition; }, getApp: () => app, Page: null };
  const load = newLoader(files, globals);
  window.toasts = [];
  load('app');
  Object.assign(app.globalData.socket, socket);

  const compiled = new Function(`return ${templates}`)();
  for (const path of config.pages) {
    space.addComponentStaticConfig(path, JSON.parse(files[`${path}.json`]));
    space.addCompiledTemplate(path, { groupList: compiled, content: compiled[path] });
    space.componentEnv(path, ({ Page }) => {
      globals.Page = Page;
      load(path);
    });
  }

  function open(path) {
    const root = backend.createRoot('main', space, path);
    const placeholder = document.body.appendChild(document.createElement('span'));
    pages.at(-1)?.root.getComponent().$$.toggleAttribute('hidden', true);
    pages.push({ path, root });
    root.attach(document.body, placeholder);
    const page = root.get();
    page.onLoad?.({});
    page.onShow?.();
  }
  open(config.pages[0]);
  return {
    suspend: weChat.suspend,
    resume: (order) => weChat.resume(() => pages.at(-1).root.get().onShow(), order),
    back: () => pages.at(-1).root.get().onShow(),
  };
}
