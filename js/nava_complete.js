// Typing speech: names after <S:, and <E> behind a tag that was just opened. Undo takes both back.
import { app } from "../../scripts/app.js";
import { speakerNames } from "./nava_cast.js";
import { element, widgetOf } from "./nava_dom.js";
import { isSpoken } from "./nava_spoken.js";

const FIELDS = { NavaTextEncode: ["prompt"], NavaRewrite: ["prompt", "kept"], NavaCompose: ["dialogue"], NavaStoryboard: ["shots"] };
const OPENING = /<S(?::[^<>]*)?>$/;
const NAMING = /<S:([^<>\n]{0,60})$/;
const MOST = 8;

const list = element("div", { role: "listbox", class: "nava-names" });
Object.assign(list.style, {
  position: "fixed", display: "none", zIndex: "9999", font: "13px/1.6 sans-serif", borderRadius: "4px", overflow: "hidden",
  color: "var(--input-text, #ddd)", background: "var(--comfy-menu-bg, #353535)", border: "1px solid var(--border-color, #555)",
});
document.body.append(list);
let [names, chosen, target] = [[], 0, null];

/** Whether a text area is a field of ours in which lines are written, in either renderer. */
function isOurs(area) {
  if (area?.tagName !== "TEXTAREA") return false;
  if (isSpoken(area)) return true; // a prompt, also one promoted to a subgraph's node
  const id = area.closest("[data-node-id]")?.getAttribute("data-node-id");
  if (id != null) return Boolean(FIELDS[app.graph.getNodeById(id)?.comfyClass]);
  return app.graph.nodes.some((node) => (FIELDS[node.comfyClass] ?? []).some((name) => widgetOf(node, name)?.element === area));
}

function hide() {
  list.style.display = "none";
  target = null;
}

function draw() {
  list.replaceChildren(
    ...names.map((name, i) =>
      element(
        "div",
        {
          role: "option",
          "aria-selected": String(i === chosen),
          style: { padding: "0 8px", cursor: "pointer", background: i === chosen ? "#3aa0d8" : "transparent" },
          onpointerdown: (event) => {
            event.preventDefault(); // the text area keeps the keyboard
            take(name);
          },
        },
        name,
      ),
    ),
  );
}

/** Write the rest of a name, the end of its tag, and the end of its line; the caret stands between the tags. */
function take(name) {
  const area = target;
  hide();
  const typed = NAMING.exec(area.value.slice(0, area.selectionStart))?.[1] ?? "";
  area.setSelectionRange(area.selectionStart - typed.length, area.selectionEnd);
  document.execCommand("insertText", false, `${name}>`);
  close(area);
}

/** Put <E> behind the caret where a tag was just opened and no other end follows; one that is typed takes its place. */
function close(area) {
  const caret = area.selectionStart;
  if (area.value.slice(caret - 3, caret + 3) === "<E><E>") {
    area.setSelectionRange(caret, caret + 3);
    document.execCommand("delete");
    return;
  }
  if (!OPENING.test(area.value.slice(Math.max(0, caret - 80), caret))) return;
  const next = /<S(?::[^<>]*)?>|<E>/.exec(area.value.slice(caret));
  if (next?.[0] === "<E>") return;
  document.execCommand("insertText", false, "<E>");
  area.setSelectionRange(caret, caret);
}

function offer(area) {
  const typed = NAMING.exec(area.value.slice(Math.max(0, area.selectionStart - 80), area.selectionStart));
  if (!typed) return hide();
  names = speakerNames().filter((name) => name.toLowerCase().startsWith(typed[1].trim().toLowerCase())).slice(0, MOST);
  if (!names.length) return hide();
  [chosen, target] = [0, area];
  const box = area.getBoundingClientRect();
  Object.assign(list.style, { display: "block", left: `${box.left}px`, top: `${box.bottom + 2}px` });
  draw();
}

document.addEventListener("input", (event) => {
  if (!isOurs(event.target) || event.isComposing) return;
  if (event.inputType === "insertText" && event.data === ">") close(event.target);
  offer(event.target);
});
document.addEventListener(
  "keydown",
  (event) => {
    if (!target || event.target !== target || event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) chosen = (chosen + step + names.length) % names.length;
    else if (event.key === "Enter" || event.key === "Tab") take(names[chosen]);
    else if (event.key === "Escape") hide();
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (step) draw();
  },
  true,
);
document.addEventListener("focusout", hide);
