// A stand-in for WeChat's `wx` over a WebSocket class, as WeChat's documentation describes it. It has the parts that
// examples/wechat uses. It runs in Node and in a browser.

// newWeChat returns wx, and the actions of a user. hooks.toast is called with the toast, null for none;
// hooks.navigate is called with the url of the page to open.
export function newWeChat(WebSocket, hooks) {
  const open = new Set(); // sockets to cut when the program is suspended
  let late = null;        // while it is suspended: calls that wait for its return
  const deliver = (call) => (late ? late.push(call) : call());

  function connectSocket({ url, protocols = [], success, fail }) {
    const listeners = { open() {}, message() {}, error() {}, close() {} };
    const task = {
      onOpen: (listener) => { listeners.open = listener; },
      onMessage: (listener) => { listeners.message = listener; },
      onError: (listener) => { listeners.error = listener; },
      onClose: (listener) => { listeners.close = listener; },
      send({ data, success, fail }) {
        if (socket?.readyState !== 1) {
          deliver(() => fail?.({ errMsg: 'sendSocketMessage:fail SocketTask.readyState is not OPEN' }));
          return;
        }
        socket.send(data);
        deliver(() => success?.({ errMsg: 'sendSocketMessage:ok' }));
      },
      close: ({ code, reason }) => socket?.close(code, reason),
    };
    let socket;
    try {
      socket = new WebSocket(url, protocols);
    } catch (err) {
      deliver(() => fail?.({ errMsg: `connectSocket:fail ${err.message}` }));
      return task;
    }
    deliver(() => success?.({ errMsg: 'connectSocket:ok' }));
    let cut = false;
    const told = (event, result) => { if (!cut) deliver(() => listeners[event](result)); };
    const interrupt = () => {
      told('close', { code: 1000, reason: 'interrupted' });
      cut = true;
      (socket.terminate ?? socket.close).call(socket); // a browser's WebSocket cannot just vanish
    };
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      open.add(interrupt);
      told('open', { header: {} });
    };
    socket.onmessage = ({ data }) => told('message', { data });
    socket.onerror = ({ message }) => told('error', { errMsg: message || 'connection failed' });
    socket.onclose = ({ code, reason }) => {
      open.delete(interrupt);
      told('close', { code, reason });
    };
    return task;
  }

  return {
    wx: {
      connectSocket,
      showToast: ({ title }) => hooks.toast(title),
      hideToast: () => hooks.toast(null),
      navigateTo: ({ url }) => hooks.navigate(url),
    },

    // suspend does what WeChat does some seconds after the program has gone to the background.
    suspend() {
      late = [];
      for (const interrupt of open) interrupt();
      open.clear();
    },

    // resume brings it back; onShow is called before or after the calls that have waited.
    resume(onShow, order) {
      const calls = late;
      late = null;
      if (order === 'shown first') onShow();
      for (const call of calls) call();
      if (order !== 'shown first') onShow();
    },
  };
}
