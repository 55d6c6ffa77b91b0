"""Serve Qwen as an OpenAI-compatible endpoint on this machine: ``python benchmarks/lab/serve.py [--port 8080]``.

The environment is that of ``make lab`` (``.venv-lab/bin/python``). One thread, 2,048 tokens of context, 2.2 GB;
requests are taken one after another (``--endpoint max_concurrency=1,timeout_s=600``). Ctrl-C ends it.
"""

import argparse
import os
import sys

from assemble import lab_folder


def command(port: int, threads: int = 1, context: int = 2048) -> list[str]:
    """Return the command of the server."""
    model = lab_folder() / "qwen.gguf"
    words = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--model_alias", "qwen"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", str(context)]
    return [*words, "--n_threads", str(threads), "--n_threads_batch", str(threads)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve Qwen on this machine.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if not (lab_folder() / "qwen.gguf").exists():
        sys.exit(f"{lab_folder() / 'qwen.gguf'} is missing: make lab")
    words = command(given.port, given.threads)
    os.execv(words[0], words)


if __name__ == "__main__":
    main()
