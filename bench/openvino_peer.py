"""OpenVINO GenAI behind lines of JSON: an ask on stdin, its answer on stdout, with its own times.

usage: openvino_peer.py MODEL.gguf THREADS, or --version
"""

import json
import os
import sys
import time

import openvino_genai


def answer(pipeline, ask):
    """Generates greedily, past the end token; several prompts run as one batch."""
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = ask["max_tokens"]
    config.ignore_eos = True
    config.do_sample = False
    config.apply_chat_template = ask["chat"]
    prompts = ask["prompts"]
    started = time.perf_counter()
    metrics = pipeline.generate(prompts, config).perf_metrics
    total_ms = (time.perf_counter() - started) * 1000
    first_ms = metrics.get_ttft().mean
    times = metrics.raw_metrics.m_new_token_times
    return {
        "prompt_tokens": metrics.get_num_input_tokens(),
        "tokens": ask["max_tokens"] * len(prompts),
        "first_ms": first_ms,
        # Of a batch only the whole is known.
        "last_ms": first_ms + times[-1] - times[0] if len(prompts) == 1 else total_ms,
    }


def main():
    if sys.argv[1] == "--version":
        print(openvino_genai.__version__)
        return
    model, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # What the library prints must not get between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    for line in sys.stdin:
        print(json.dumps(answer(pipeline, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
