/**
 * useChat: a chat as state of a React component; an answer goes on after a lost line or a reload.
 *
 * The state is kept in the tab's sessionStorage, text and place in the stream together. So what a
 * reload finds there is exact, and the server gives the rest: no token twice, none lost.
 *
 * @module
 */
/// <reference lib="dom" />
import { type Dispatch, type SetStateAction, useEffect, useRef, useState } from "react";
import {
  type ChatMessage,
  type ChatStream,
  type ClientOptions,
  resumeStream,
  streamChat,
} from "../../src/client/mod.ts"; // "@sluice/llm/client" in a project of your own

/** How the server is reached, and how long answers are. */
export type ChatOptions = Pick<ClientOptions, "url" | "headers"> & {
  /** Most tokens of an answer. Default the server's. */
  maxTokens?: number;
};

/** What a component shows and does. */
export interface Chat {
  /** The messages so far; the last one grows while an answer comes. */
  readonly messages: readonly ChatMessage[];
  /** An answer is coming. */
  readonly isStreaming: boolean;
  /** Id of the stream that is being read; with it as the page's `#hash` another tab follows. */
  readonly streamId: string | undefined;
  /** Why the last answer is not whole; one sentence. */
  readonly error: string | undefined;
  /** Asks; the answer comes into `messages`. */
  send(question: string): void;
  /** Ends the generation on the server; what was said stays. */
  stop(): void;
  /** Forgets the messages. Not while an answer is coming. */
  clear(): void;
}

/** An answer as far as it was read. */
interface Answer {
  readonly text: string;
  /** Absent until the server has answered. */
  readonly id?: string;
  /** Id of the last message that is in `text`. */
  readonly lastEventId?: string | undefined;
}

/** Everything that outlives a reload. */
interface Conversation {
  readonly messages: readonly ChatMessage[];
  /** The answer that is being read. */
  readonly answer?: Answer;
  readonly error?: string;
}

type Update = Dispatch<SetStateAction<Conversation>>;

const KEY = "chat";

/** What this tab had, or the answer that its address names, or an empty chat. */
function restore(): Conversation {
  const kept = sessionStorage.getItem(KEY);
  if (kept !== null) return JSON.parse(kept) as Conversation;
  const id = location.hash.slice(1);
  return id === "" ? { messages: [] } : { messages: [], answer: { id, text: "" } };
}

/** The messages with the answer behind them, if anything of it has come. */
function spoken({ messages, answer }: Conversation): readonly ChatMessage[] {
  if (answer === undefined || answer.text === "") return messages;
  return [...messages, { role: "assistant", content: answer.text }];
}

/** A new stream, or the one that was being read before the page was loaded anew. */
function open({ messages, answer }: Conversation, options: ChatOptions): ChatStream {
  if (answer?.id === undefined) return streamChat({ ...options, messages });
  const { id, lastEventId } = answer;
  return resumeStream({ ...options, id, ...(lastEventId !== undefined && { from: lastEventId }) });
}

/** Puts what a stream says into the state, until it has ended or was left. */
async function read(stream: ChatStream, update: Update): Promise<void> {
  const grow = (more: string, place: Partial<Answer>): void =>
    update((now) => {
      if (now.answer === undefined) return now;
      return { ...now, answer: { ...now.answer, ...place, text: now.answer.text + more } };
    });
  try {
    grow("", { id: await stream.id });
    for await (const { text } of stream) grow(text, { lastEventId: stream.lastEventId });
    update((now) => ({ messages: spoken(now) }));
  } catch (thrown) {
    // The page is gone or shows something else. The server waits a minute for a reader.
    if (thrown instanceof DOMException && thrown.name === "AbortError") return;
    update((now) => ({ messages: spoken(now), error: (thrown as Error).message }));
  }
}

/** A chat with the server at `url`; see the module. */
export function useChat(options: ChatOptions): Chat {
  const [conversation, update] = useState(restore);
  const reading = useRef<ChatStream>(undefined);
  const isStreaming = conversation.answer !== undefined;

  useEffect(() => sessionStorage.setItem(KEY, JSON.stringify(conversation)), [conversation]);

  useEffect(() => {
    if (!isStreaming) return;
    const stream = open(conversation, options);
    reading.current = stream;
    void read(stream, update);
    return () => stream.abort();
    // One stream for each answer: nothing else of the conversation opens another one.
  }, [isStreaming]);

  return {
    messages: spoken(conversation),
    isStreaming,
    streamId: conversation.answer?.id,
    error: conversation.error,
    send: (question) =>
      update(({ messages }) => ({
        messages: [...messages, { role: "user", content: question }],
        answer: { text: "" },
      })),
    stop: () => {
      reading.current?.stop().catch((thrown: Error) =>
        update((now) => ({ ...now, error: thrown.message }))
      );
    },
    clear: () => update({ messages: [] }),
  };
}
