// Code that the typings have to refuse. Without the typings the expected errors would be missing, which is an error.

// @ts-expect-error: a port is no address
wx.connectSocket({ url: 8080 });
// @ts-expect-error: there is no such icon
wx.showToast({ title: '', icon: 'spinner' });
// @ts-expect-error: the close event has no such field
wx.connectSocket({ url: '' }).onClose(({ status }) => status);
Page({
  onLoad() {
    // @ts-expect-error: a page has no state
    this.setState({});
  },
});
