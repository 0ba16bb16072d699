// Questions: "are you sure?" and "which program?". Each resolves when its dialog closes.

import { bdi, button, h } from "./dom.js";
import { iso } from "./format.js";
import { settle } from "./toast.js";
import { t } from "./words.js";

let count = 0;

/** Shows a modal dialog; resolves with what a button gave, else null. The focus goes back to where it was. */
export function ask(title, body, buttons) {
  return new Promise((done) => {
    const id = `dialog-title-${++count}`;
    let answer = null;
    const dialog = h("dialog", { "aria-labelledby": id });
    const foot = buttons.map(({ label, value, kind, action }) =>
      button(kind, action, label, () => {
        answer = typeof value === "function" ? value() : value;
        dialog.close();
      }));
    dialog.append(h("h2", { id }, title), ...body, h("div", { class: "dialog-foot" }, foot));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      settle();
      dialog.remove();
      done(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Whether the user is sure. The safe button comes first and has the focus. */
export async function confirm(title, text, label) {
  const buttons = [
    { label: t("do.cancel"), value: false, kind: "quiet", action: "dialog-cancel" },
    { label, value: true, kind: "danger", action: "dialog-confirm" },
  ];
  return (await ask(title, [h("p", null, text)], buttons)) === true;
}

/** Which of the programs starts a game; null when the user does not say. */
export function chooseProgram(name, programs, chosen, toPlay) {
  const title = t("programs.title", { game: iso(name) });
  const radios = programs.map((program, n) =>
    h("label", { class: "choice" },
      h("input", { type: "radio", name: "program", value: program, checked: program === chosen || (!chosen && n === 0) }),
      bdi(program)));
  const list = h("div", { class: "choices", role: "radiogroup", "aria-label": title }, radios);
  return ask(title, [list], [
    { label: t("do.cancel"), value: null, kind: "quiet", action: "dialog-cancel" },
    { label: t(toPlay ? "do.play" : "save"), value: () => list.querySelector(":checked")?.value ?? null, kind: "primary",
      action: "dialog-confirm" },
  ]);
}
