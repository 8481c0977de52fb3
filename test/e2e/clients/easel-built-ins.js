// Those of WeChat's built-in components that examples/wechat uses, as components of glass-easel on the HTML element of
// the same name. (A tag that is not a component is a native node, and gets no events.)

const attributes = (...names) => Object.fromEntries(names.map((name) => [name, {
  type: String,
  observer(value) { this.$$.setAttribute(name, value); },
}]));

const image = {
  properties: {
    mode: String,
    src: { type: String, observer(value) { this.$$.style.backgroundImage = `url(${JSON.stringify(value)})`; } },
  },
};

const button = {
  properties: {
    size: String,
    openType: String,
    formType: String,
    disabled: { type: Boolean, observer(value) { this.$$.toggleAttribute('disabled', value); } },
  },
  lifetimes: {
    attached() {
      this.$$.type = 'button';
      this.addListener('tap', () => { // not click, which comes later, when another button may be in its place
        if (this.data.formType) this.triggerEvent('formbutton', {}, { bubbles: true, composed: true });
        // Instead of the list of pictures that WeChat opens.
        if (this.data.openType === 'chooseAvatar') this.triggerEvent('chooseavatar', { avatarUrl: window.chosenAvatar });
      });
    },
  },
};

const input = {
  properties: {
    ...attributes('placeholder', 'maxlength', 'type', 'name'),
    confirmType: String,
    placeholderClass: String,
    value: { type: String, observer(value) { this.$$.value = value; } },
  },
  lifetimes: {
    attached() {
      this.$$.addEventListener('keydown', ({ key }) => {
        if (key === 'Enter') this.triggerEvent('confirm', { value: this.$$.value });
      });
    },
  },
};

const form = {
  lifetimes: {
    attached() {
      this.addListener('formbutton', () => {
        const fields = [...this.$$.querySelectorAll('input[name]')].map((field) => [field.getAttribute('name'), field.value]);
        this.triggerEvent('submit', { value: Object.fromEntries(fields) });
      });
    },
  },
};

const scrollView = {
  properties: {
    scrollY: Boolean,
    scrollIntoView: {
      type: String,
      observer(id) {
        const show = () => this.$$.querySelector(`[id$="--${id}"]`)?.scrollIntoView({ block: 'nearest' });
        requestAnimationFrame(show); // the line is rendered later in the same update
      },
    },
  },
};

export const builtIns = { view: {}, text: {}, image, button, input, form, 'scroll-view': scrollView };
