"""How the simulated systems of BFCL's third edition (July 2025) differ from those of the fourth."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, refusal
from forge_envs.worlds.bfcl.backends.file_system import GorillaFileSystem, forbidden
from forge_envs.worlds.bfcl.backends.messages import MessageAPI
from forge_envs.worlds.bfcl.backends.posting import TwitterAPI
from forge_envs.worlds.bfcl.backends.tickets import TicketAPI
from forge_envs.worlds.bfcl.backends.trading import TradingBot
from forge_envs.worlds.bfcl.backends.travel import TravelAPI, times


class ThirdFileSystem(GorillaFileSystem, official="GorillaFileSystem"):
    """Paths of several levels can be entered, `find` looks only here, `echo` makes files."""

    def cd(self, folder: str) -> Answer:
        """Go along a path, up with "..", or to the root with "/"."""
        if folder == "..":
            return self._up("Cuurent directory is already the root. Cannot go back.")
        text = f"cd: {folder}: No such directory. You cannot use path to change directory."
        return self._enter(folder, text)

    def cat(self, file_name: str) -> Answer:
        """What a file holds."""
        if forbidden(file_name):
            return refusal(f"cat: '{file_name}': Invalid character")
        return self._cat(file_name, f"cat: {file_name}: ")

    def find(self, path: str = ".", name: str | None = None) -> Answer:
        """Paths of everything below here, under the name of `path`, whose name contains `name`."""
        return self._find(self._here, path, name)

    def echo(self, content: str, file_name: str | None = None) -> Answer:
        """Say something, or write it to a file here, new or not."""
        if file_name is None:
            return {"terminal_output": content}
        if forbidden(file_name):
            return refusal(f"echo: cannot touch '{file_name}': Invalid character")
        if not file_name:
            return {"terminal_output": content}
        if file_name in self._here.contents:
            return self._overwrite(file_name, content)
        return self._here.add_file(file_name, content)

    def rmdir(self, dir_name: str) -> Answer:
        """Remove an empty directory."""
        return self._rmdir(dir_name, f"rmdir: failed to remove '{dir_name}': Directory not empty")

    def _no_path(self, command: str) -> str:
        no = {"mv": "no path allowed", "cp": "don't allow path"}[command]
        return (
            f"{command}: {no} in destination. Only file name and folder name is supported for this operation."
        )


class ThirdMessageAPI(MessageAPI, official="MessageAPI"):
    """A deleted message is told by other names."""

    def _deleted(self, receiver: str) -> Answer:
        return {
            "deleted_status": True,
            "message_id": receiver,
            "message": f"Receiver {receiver}'s first message deleted successfully.",
        }


class ThirdTwitterAPI(TwitterAPI, official="TwitterAPI"):
    """Whom one follows is a bare list; a stranger's comment is an error."""

    def list_all_following(self) -> Answer:
        """Whom the account follows."""
        return self.following_list if self.authenticated else self._stranger("listing following")

    def comment(self, tweet_id: int, comment_content: str) -> Answer:
        """Comment on a tweet."""
        if not self.authenticated:
            raise TypeError("exceptions must derive from BaseException")
        return super().comment(tweet_id, comment_content)


class ThirdTicketAPI(TicketAPI, official="TicketAPI"):
    """The status of the login has another name."""

    def ticket_get_login_status(self) -> Answer:
        """Whether anybody is logged in."""
        return {"username": bool(self.current_user)}


class ThirdTradingBot(TradingBot, official="TradingBot", withdrawn=frozenset({"withdraw_funds"})):
    """The market can be opened and prices be set; money moves by transactions; purchases need no funds."""

    def _too_dear(self, order_type: str, price: float, amount: int) -> dict[str, Any] | None:
        return None

    def get_symbol_by_name(self, name: str) -> Answer:
        """A company's stock symbol; Gorilla is not listed yet."""
        return {"symbol": "Stock not found"} if name == "Gorilla" else super().get_symbol_by_name(name)

    def update_market_status(self, current_time_str: str) -> Answer:
        """Open the market from half past nine to four, close it at other times."""
        now = datetime.strptime(current_time_str, "%I:%M %p").time()
        self.market_status = "Open" if time(9, 30) <= now <= time(16, 0) else "Closed"
        return {"status": self.market_status}

    def make_transaction(self, account_id: int, xact_type: str, amount: float) -> Answer:
        """Pay money in or take it out, while the market is open."""
        if refused := self._no_transaction():
            return refused
        if account_id != self.account_info["account_id"]:
            return refusal(f"Account with ID {account_id} not found.")
        if amount <= 0:
            return refusal("Transaction amount must be positive.")
        if xact_type == "withdrawal":
            return self._withdraw(amount)
        if xact_type != "deposit":
            return refusal("Invalid transaction type. Use 'deposit' or 'withdrawal'.")
        self.account_info["balance"] += amount
        self._book("deposit", amount)
        return {"status": "Deposit successful", "new_balance": self.account_info["balance"]}

    def update_stock_price(self, symbol: str, new_price: float) -> Answer:
        """Set a price; the change in percent is from the one before."""
        if symbol not in self.stocks:
            return refusal(f"Stock with symbol '{symbol}' not found.")
        if new_price <= 0:
            return refusal("New price must be a positive value.")
        stock = self.stocks[symbol]
        old_price = stock["price"]
        stock["price"] = new_price
        stock["percent_change"] = (new_price - old_price) / old_price * 100
        return {"symbol": symbol, "old_price": old_price, "new_price": new_price}

    def add_to_watchlist(self, stock: str) -> Answer:
        """Watch a stock that the market has; nobody has to be logged in."""
        return {"symbol": super().add_to_watchlist(stock)["watchlist"]}


class ThirdTravelAPI(TravelAPI, official="TravelAPI", withdrawn=frozenset({"get_booking_history"})):
    """A wrong token brings the end of the right one nearer."""

    def _wrong_token(self) -> None:
        self.token_expires_in -= 1  # type: ignore[operator]  # without a token, Python's complaint is the answer

    def _exchanged(self, value: float, rate: float) -> float:
        return times(value, rate)  # type: ignore[no-any-return]
