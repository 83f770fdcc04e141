"""MessageAPI: users of a workspace who write to each other."""

from __future__ import annotations

import random
from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, Backend, refusal

NOBODY = "No user is currently logged in."
USERS = {"Alice": "USR001", "Bob": "USR002", "Catherine": "USR003", "Daniel": "USR004"}
INBOX = [
    ("USR002", "My name is Alice. I want to connect."),
    ("USR003", "Could you upload the file?"),
    ("USR004", "Could you upload the file?"),
]


class MessageAPI(Backend):
    """One inbox for all; each message is `{receiver: text}`, whoever wrote it."""

    generated_ids: set[int]
    user_count: int
    user_map: dict[str, str]
    inbox: list[dict[str, str]]
    message_count: int
    current_user: str | None

    def _start(self, config: dict[str, Any]) -> None:
        self._random = random.Random(config.get("random_seed", 200191))
        self.generated_ids = config.get("generated_ids", set())
        self.user_count = config.get("user_count", 4)
        self.user_map = config.get("user_map", dict(USERS))
        self.inbox = config.get("inbox", [{receiver: text} for receiver, text in INBOX])
        self.message_count = config.get("message_count", 3)
        self.current_user = config.get("current_user")

    def _new_id(self) -> int:
        drawn = self._random.randint(10000, 99999)
        while drawn in self.generated_ids:
            drawn = self._random.randint(10000, 99999)
        self.generated_ids.add(drawn)
        return drawn

    def _messages(self) -> list[tuple[str, str]]:
        return [next(iter(message.items())) for message in self.inbox]

    # -- users -----------------------------------------------------------------------------------------------

    def list_users(self) -> Answer:
        """Names of all users."""
        return {"user_list": list(self.user_map)}

    def get_user_id(self, user: str) -> Answer:
        """The id of the user of this name."""
        if user not in self.user_map:
            return refusal(f"User '{user}' not found in the workspace.")
        return {"user_id": self.user_map[user]}

    def message_login(self, user_id: str) -> Answer:
        """Log this user in; nobody asks for a password."""
        if user_id not in self.user_map.values():
            return {"login_status": False, "message": f"User ID '{user_id}' not found."}
        self.current_user = user_id
        return {"login_status": True, "message": f"User '{user_id}' logged in successfully."}

    def message_get_login_status(self) -> Answer:
        """Whether anybody is logged in."""
        return {"login_status": bool(self.current_user)}

    def add_contact(self, user_name: str) -> Answer:
        """Add a user; the count of users goes up even when the id it gives is taken."""
        if user_name in self.user_map:
            return refusal(f"User name '{user_name}' already exists.")
        self.user_count += 1
        user_id = f"USR{str(self.user_count).zfill(3)}"
        if user_id in self.user_map.values():
            return refusal(f"User ID '{user_id}' already exists.")
        self.user_map[user_name] = user_id
        return {
            "added_status": True,
            "user_id": user_id,
            "message": f"Contact '{user_name}' added successfully.",
        }

    # -- messages --------------------------------------------------------------------------------------------

    def send_message(self, receiver_id: str, message: str) -> Answer:
        """Put a message into the inbox."""
        if not self.current_user:
            return refusal(NOBODY)
        if receiver_id not in self.user_map.values():
            return refusal(f"Receiver ID '{receiver_id}' not found.")
        sent = {"new_id": self._new_id()}
        self.inbox.append({receiver_id: message})
        self.message_count += 1
        return {
            "sent_status": True,
            "message_id": sent,
            "message": f"Message sent to '{receiver_id}' successfully.",
        }

    def delete_message(self, receiver_id: str) -> Answer:
        """Delete the latest message to this receiver; of two that say the same, the earlier goes."""
        if not self.current_user:
            return refusal(NOBODY)
        for message in reversed(self.inbox):
            receiver = next(iter(message))
            if receiver == receiver_id:
                self.inbox.remove(message)
                return self._deleted(receiver)
        return refusal(f"Receiver ID {receiver_id} not found.")

    def _deleted(self, receiver: str) -> Answer:
        return {
            "deleted_status": True,
            "receiver_id": receiver,
            "message": f"Receiver {receiver}'s latest message deleted successfully.",
        }

    def view_messages_sent(self) -> Answer:
        """All messages by receiver."""
        if not self.current_user:
            return refusal(NOBODY)
        sent: dict[str, list[str]] = {}
        for receiver, text in self._messages():
            sent.setdefault(receiver, []).append(text)
        return {"messages": sent}

    def search_messages(self, keyword: str) -> Answer:
        """Messages that contain the keyword, in any case."""
        if not self.current_user:
            return refusal(NOBODY)
        wanted = keyword.lower()
        found = [
            {"receiver_id": receiver, "message": text}
            for receiver, text in self._messages()
            if wanted in text.lower()
        ]
        return {"results": found}

    def get_message_stats(self) -> Answer:
        """How many messages there are, and to how many receivers."""
        if not self.current_user:
            return refusal(NOBODY)
        messages = self._messages()
        receivers = {receiver for receiver, _ in messages}
        return {"stats": {"received_count": len(messages), "total_contacts": len(receivers)}}
