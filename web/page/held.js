// What one tab of this browser works on, so that another one leaves it alone.

/** Hold `name` until `over` settles, or else until this tab is gone. */
export function hold(name, over = new Promise(() => {})) {
  navigator.locks?.request(name, { mode: "shared" }, () => over).catch(() => {});
}

/** Resolves once no tab holds `name`; at once where the browser cannot tell, as without https. */
export const released = async (name) => navigator.locks?.request(name, () => {}).catch(() => {});
