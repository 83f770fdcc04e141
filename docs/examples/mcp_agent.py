"""An agent of the MCP SDK in a world; a script that knows the answers stands in for the model.

The server usually is a process of its own: `python -m forge_envs.adapters.mcp_server Forge/Retail-v0`.
"""

import asyncio
import json
import threading
import time
from urllib.request import Request, urlopen

import uvicorn
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from forge_envs.adapters import Session
from forge_envs.adapters.mcp_server import app

WORLD, TASK, PORT = "Forge/Retail-v0", "retail/small/train/2/1", 8765
with Session(WORLD) as session:
    said = [session.env.grammar.parse(action) for action in session.env.gold_actions(TASK)]


async def act(url):
    async with streamable_http_client(url) as (read, write, *_), ClientSession(read, write) as agent:
        await agent.initialize()
        for prose, calls, _ in said:
            name = calls[0].name if calls else "say"
            await agent.call_tool(name, dict(calls[0].arguments) if calls else {"message": prose})


server = uvicorn.Server(uvicorn.Config(app(WORLD), port=PORT, log_level="warning"))
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.1)
base = f"http://127.0.0.1:{PORT}"
begun = json.load(urlopen(Request(f"{base}/episodes", json.dumps({"task": TASK}).encode())))
asyncio.run(act(base + begun["url"]))
print(urlopen(Request(f"{base}/episodes/{begun['episode']}", method="DELETE")).read().decode())
server.should_exit = True
