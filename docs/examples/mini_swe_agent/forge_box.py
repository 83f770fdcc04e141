"""mini-swe-agent's commands, run in the box of a Forge/SWE episode with scaffold="mini".

It needs nothing of Forge: it lies on mini-swe-agent's PYTHONPATH and is named as its environment class.
"""

import base64
import json
import os
import re
import urllib.request

from minisweagent.exceptions import Submitted

OVER = {"role": "exit", "content": "", "extra": {"exit_status": "Submitted", "submission": ""}}
ANSWER = r"(?:<returncode>(-?\d+)</returncode>\n<output>\n)?(.*?)(?:\n</output>.*)?"


def world(data=None):
    with urllib.request.urlopen(urllib.request.Request(os.environ["FORGE_WORLD_URL"], data)) as answer:
        return json.load(answer)


class ForgeBox:
    def __init__(self, **config):
        self.opening = {message["role"]: message["content"] for message in world()["messages"]}

    def execute(self, action, cwd=""):
        command = action["command"]
        if "```" in command:  # it would end the block that it is sent in
            command = f"echo {base64.b64encode(command.encode()).decode()} | base64 -d | bash"
        told = world(json.dumps({"action": f"```bash\n{command}\n```"}).encode())
        if told["over"]:
            raise Submitted(OVER)
        answer = "\n".join(message["content"] for message in told["messages"])
        status, text = re.fullmatch(ANSWER, answer, re.DOTALL).groups()
        return {"output": text, "returncode": int(status or 1), "exception_info": "", "answer": answer}

    def get_template_vars(self, **more):
        host = dict.fromkeys(("system", "release", "version", "machine"), "Linux")
        return {**host, "forge": self.opening, **more}

    def serialize(self):
        return {}
