"""Worlds in another process, language or machine: `forge-envs serve`, and the env that plays them from afar.

limits <- sessions <- app (HTTP), socket (WebSocket), openenv (OpenEnv's protocol) <- server (what runs it)
offer: which worlds, with which arguments      client: `gymnasium.make("forge_envs:Forge/Remote-v0", url=...)`

A session is one episode. It has a lease that every use renews; when it ends, for whatever reason, its
world is closed at once and its record stays for a while. docs/serve.md tells how to use all this.
"""
