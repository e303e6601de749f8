/**
 * The OpenAI dialect: chat completions, completions and the list of models, stream and not.
 *
 * Official clients work unchanged. Extra fields of llama-server are understood, unknown fields are
 * ignored, and known fields that would change the answer and are not supported are refused rather
 * than passed over.
 *
 * @module
 */
import { RequestError } from "../../errors.ts";
import type { ModelInfo } from "../../engine/generator.ts";
import type { Dialect } from "../dialect.ts";
import type { PublicError } from "../public_error.ts";
import { acceptChat, acceptCompletion } from "./openai_request.ts";
import { chatShape, completionShape, makeEncoder } from "./openai_response.ts";

const TYPES: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  429: "overloaded_error",
};

/** The envelope of every failure; its message names all bad fields, `param` the first. */
function errorBody({ status, message, fields, code }: PublicError): unknown {
  const type = TYPES[status] ?? (status < 500 ? "invalid_request_error" : "server_error");
  return { error: { message, type, param: fields[0]?.field ?? null, code } };
}

function describeModel({ id, created, n_ctx, n_vocab }: ModelInfo): unknown {
  return { id, object: "model", created, owned_by: "sluice", meta: { n_ctx, n_vocab } };
}

/** `/v1/chat/completions`, `/v1/completions`, `/v1/models`. */
export const openai: Dialect = {
  generates: [
    {
      name: "openai",
      path: "/v1/chat/completions",
      accept: (body, context) => acceptChat(body, context, errorBody),
      encoder: (context) => makeEncoder(chatShape, context, false, errorBody),
    },
    {
      name: "openai_completions",
      path: "/v1/completions",
      accept: (body, context) => acceptCompletion(body, context, errorBody),
      encoder: (context) => makeEncoder(completionShape, context, false, errorBody),
    },
  ],
  describes: [
    { path: "/v1/models", describe: (model) => ({ object: "list", data: [describeModel(model)] }) },
    {
      path: "/v1/models/*",
      describe: (model, id) => {
        if (id === model.id) return describeModel(model);
        throw new RequestError(`Cannot find the model ${JSON.stringify(id.slice(0, 100))}`, [], {
          code: "model_not_found",
          status: 404,
        });
      },
    },
  ],
  opensWithMessage: true,
  errorBody,
};
