'use strict';

Page({
  data: {
    lines: /** @type {import('../../utils/log').Line[]} */ ([]),
  },

  onShow() {
    this.setData({ lines: getApp().globalData.log.lines.slice().reverse() }); // the latest first
  },
});
