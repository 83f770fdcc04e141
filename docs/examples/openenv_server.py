"""Gold on a world behind OpenEnv's own server: python docs/examples/openenv_server.py"""

import threading
import time

import uvicorn
from openenv.core import GenericEnvClient

from forge_envs.adapters import Session
from forge_envs.adapters.openenv import create_server

WORLD, PORT = "Forge/Retail-v0", 8124

if __name__ == "__main__":
    app = create_server(WORLD, {"size": "small"}, max_concurrent_envs=8)
    server = uvicorn.Server(uvicorn.Config(app, port=PORT, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.1)
    with Session(WORLD) as session:  # an agent would say these itself
        actions = session.env.gold_actions("retail/small/train/2/1")
    try:
        with GenericEnvClient(base_url=f"http://localhost:{PORT}").sync() as env:
            env.reset(task="retail/small/train/2/1")
            for action in actions:
                result = env.step({"text": action})
            print("outcome", result.reward, "parts", result.metadata["parts"])
    finally:
        server.should_exit = True
        thread.join()
