/**
 * The page's component: the messages, a field to ask in, a button that stops the answer.
 *
 * @module
 */
/// <reference lib="dom" />
import { createElement as h, type FormEvent, type ReactNode, StrictMode, useState } from "react";
// @ts-ignore -- the types of react-dom are a package of their own
import { createRoot } from "react-dom/client";
import { useChat } from "./use_chat.ts";

/** A chat with the server that the page came from. */
export function Chat(): ReactNode {
  const chat = useChat({ url: location.origin });
  const [draft, setDraft] = useState("");
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (draft.trim() === "") return;
    chat.send(draft);
    setDraft("");
  };
  return h(
    "main",
    { "aria-busy": chat.isStreaming },
    h(
      "section",
      { "aria-label": "Messages" },
      ...chat.messages.map(({ role, content }) => h("p", { className: role }, content)),
    ),
    chat.error !== undefined && h("p", { role: "alert" }, chat.error),
    h(
      "form",
      { onSubmit: submit },
      h("input", {
        "aria-label": "Question",
        autoFocus: true,
        disabled: chat.isStreaming,
        onChange: ({ currentTarget }: FormEvent<HTMLInputElement>) => setDraft(currentTarget.value),
        placeholder: "Ask something",
        value: draft,
      }),
      chat.isStreaming
        ? h("button", { key: "stop", type: "button", onClick: chat.stop }, "Stop")
        : h("button", { key: "send" }, "Send"),
      !chat.isStreaming && h("button", { type: "button", onClick: chat.clear }, "New chat"),
    ),
    chat.streamId !== undefined &&
      h("a", { href: `#${chat.streamId}`, target: "_blank" }, "Follow in another tab"),
  );
}

createRoot(document.getElementById("root")).render(h(StrictMode, null, h(Chat)));
