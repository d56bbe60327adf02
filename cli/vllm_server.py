"""vLLM's own server, as `python -m cli.vllm_server ARGUMENTS`. Imports nothing before it is the program itself.

vLLM starts a process for its scheduler and one for its worker, and each of them imports the module that was run first
once more. Where that is vLLM's own entry point, both import a whole HTTP server, and its clients, for nothing.
"""

if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
