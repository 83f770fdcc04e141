"""TicketAPI: a company's support tickets."""

from __future__ import annotations

from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, Backend, refusal

FIELDS = ("title", "description", "status", "priority")


class TicketAPI(Backend):
    """A queue of tickets; whoever names himself is logged in."""

    ticket_queue: list[dict[str, Any]]
    ticket_counter: int
    current_user: str | None

    def _start(self, config: dict[str, Any]) -> None:
        self.ticket_queue = config.get("ticket_queue", [])
        self.ticket_counter = config.get("ticket_counter", 1)
        self.current_user = config.get("current_user")

    def _ticket(self, ticket_id: int) -> dict[str, Any] | None:
        return next((ticket for ticket in self.ticket_queue if ticket["id"] == ticket_id), None)

    def _unknown(self, ticket_id: int) -> Answer:
        return refusal(f"Ticket with ID {ticket_id} not found.")

    # -- users -----------------------------------------------------------------------------------------------

    def ticket_login(self, username: str, password: str) -> Answer:
        """Log in with any name and any password, neither of them empty."""
        if not (username and password):
            return {"success": False}
        self.current_user = username
        return {"success": True}

    def ticket_get_login_status(self) -> Answer:
        """Whether anybody is logged in."""
        return {"login_status": bool(self.current_user)}

    def logout(self) -> Answer:
        """Log out."""
        if not self.current_user:
            return {"success": False}
        self.current_user = None
        return {"success": True}

    # -- tickets ---------------------------------------------------------------------------------------------

    def create_ticket(self, title: str, description: str = "", priority: int = 1) -> Answer:
        """Open a ticket; priority 5 is the highest."""
        if not self.current_user:
            return refusal("User not authenticated. Please log in to create a ticket.")
        if priority < 1 or priority > 5:
            return refusal("Invalid priority. Priority must be between 1 and 5.")
        ticket = {
            "id": self.ticket_counter,
            "title": title,
            "description": description,
            "status": "Open",
            "priority": priority,
            "created_by": self.current_user,
        }
        self.ticket_queue.append(ticket)
        self.ticket_counter += 1
        return ticket

    def get_ticket(self, ticket_id: int) -> Answer:
        """One ticket."""
        return self._ticket(ticket_id) or self._unknown(ticket_id)

    def close_ticket(self, ticket_id: int) -> Answer:
        """Close a ticket, whatever its status was."""
        ticket = self._ticket(ticket_id)
        if not ticket:
            return self._unknown(ticket_id)
        if ticket["status"] == "Closed":
            return refusal(f"Ticket with ID {ticket_id} is already closed.")
        ticket["status"] = "Closed"
        return {"status": f"Ticket {ticket_id} has been closed successfully."}

    def resolve_ticket(self, ticket_id: int, resolution: str) -> Answer:
        """Resolve a ticket, even a closed one."""
        ticket = self._ticket(ticket_id)
        if not ticket:
            return self._unknown(ticket_id)
        if ticket["status"] == "Resolved":
            return refusal(f"Ticket with ID {ticket_id} is already resolved.")
        ticket["status"] = "Resolved"
        ticket["resolution"] = resolution
        return {"status": f"Ticket {ticket_id} has been resolved successfully."}

    def edit_ticket(self, ticket_id: int, updates: dict[str, Any]) -> Answer:
        """Change fields of a ticket; a None leaves its field as it is.

        Several wrong fields are named in the order given; the official text has them in an order that changes
        from process to process.
        """
        ticket = self._ticket(ticket_id)
        if not ticket:
            return self._unknown(ticket_id)
        if wrong := [name for name in updates.keys() if name not in FIELDS]:  # noqa: SIM118  its error names keys
            return refusal(f"Invalid fields for update: {', '.join(wrong)}")
        ticket.update({name: value for name, value in updates.items() if value is not None})
        return {"status": f"Ticket {ticket_id} has been updated successfully."}

    def get_user_tickets(self, status: str | None = None) -> Answer:
        """Tickets that the user created, of this status if one is given."""
        if not self.current_user:
            return [refusal("User not authenticated. Please log in to view tickets.")]
        own = [ticket for ticket in self.ticket_queue if ticket["created_by"] == self.current_user]
        if status:
            own = [ticket for ticket in own if ticket["status"].lower() == status.lower()]
        return own
