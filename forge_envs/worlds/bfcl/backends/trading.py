"""TradingBot: a brokerage account and a small market."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, Backend, refusal

NOW = datetime(2024, 9, 1, 10, 30)
"""It is always this moment, a Sunday, though the market may be open."""
SYMBOLS = {
    "Apple": "AAPL",
    "Google": "GOOG",
    "Tesla": "TSLA",
    "Microsoft": "MSFT",
    "Nvidia": "NVDA",
    "Zeta Corp": "ZETA",
    "Alpha Tech": "ALPH",
    "Omega Industries": "OMEG",
    "Quasar Ltd.": "QUAS",
    "Neptune Systems": "NEPT",
    "Synex Solutions": "SYNX",
    "Amazon": "AMZN",
    "Gorilla": "GORI",
}
SECTORS = {"Technology": ("AAPL", "GOOG", "MSFT", "NVDA"), "Automobile": ("TSLA", "F", "GM")}
COLUMNS = ("price", "percent_change", "volume", "MA(5)", "MA(20)")
QUOTES = {
    "AAPL": (227.16, 0.17, 2.552, 227.11, 227.09),
    "GOOG": (2840.34, 0.24, 1.123, 2835.67, 2842.15),
    "TSLA": (667.92, -0.12, 1.654, 671.15, 668.20),
    "MSFT": (310.23, 0.09, 3.234, 309.88, 310.11),
    "NVDA": (220.34, 0.34, 1.234, 220.45, 220.67),
    "ALPH": (1320.45, -0.08, 1.567, 1321.12, 1325.78),
    "OMEG": (457.23, 0.12, 2.345, 456.78, 458.12),
    "QUAS": (725.89, -0.03, 1.789, 726.45, 728.00),
    "NEPT": (88.34, 0.19, 0.654, 88.21, 88.67),
    "SYNX": (345.67, 0.11, 2.112, 345.34, 346.12),
    "ZETA": (22.09, -0.05, 0.789, 22.12, 22.34),
}


def order(id: int, order_type: str, symbol: str, price: float, amount: int, status: str) -> dict[str, Any]:
    """An order as it is kept."""
    return {
        "id": id,
        "order_type": order_type,
        "symbol": symbol,
        "price": price,
        "amount": amount,
        "status": status,
    }


class TradingBot(Backend):
    """Orders are placed and cancelled, never filled; money moves only by funding and withdrawing."""

    orders: dict[Any, dict[str, Any]]
    account_info: dict[str, Any]
    authenticated: bool
    market_status: str
    order_counter: int
    stocks: dict[str, dict[str, Any]]
    watch_list: list[str]
    transaction_history: list[dict[str, Any]]
    long_context: bool

    def _start(self, config: dict[str, Any]) -> None:
        orders = config.get("orders", self._first_orders())
        self.orders = {
            int(key) if isinstance(key, str) and key.isdigit() else key: row for key, row in orders.items()
        }
        account = {"account_id": 12345, "balance": 10000.0, "binding_card": 1974202140965533}
        self.account_info = config.get("account_info", account)
        self.authenticated = config.get("authenticated", False)
        self.market_status = config.get("market_status", "Closed")
        self.order_counter = config.get("order_counter", 12446)
        quotes = {symbol: dict(zip(COLUMNS, row, strict=True)) for symbol, row in QUOTES.items()}
        self.stocks = config.get("stocks", quotes)
        self.watch_list = config.get("watch_list", ["NVDA"])
        self.transaction_history = config.get("transaction_history", [])
        self.long_context = self._long
        self._random = random.Random(config.get("random_seed", 1053520))

    def _first_orders(self) -> dict[Any, dict[str, Any]]:
        return {
            12345: order(12345, "Buy", "AAPL", 210.65, 10, "Completed"),
            12446: order(12446, "Sell", "GOOG", 2840.56, 5, "Pending"),
        }

    def _stranger(self, purpose: str) -> dict[str, Any]:
        return refusal(f"User not authenticated. Please log in to {purpose}.")

    def _book(self, kind: str, amount: float) -> None:
        moment = NOW + timedelta(seconds=self._random.randint(0, 24 * 60 * 60))
        row = {"type": kind, "amount": amount, "timestamp": moment.strftime("%Y-%m-%d %H:%M:%S")}
        self.transaction_history.append(row)

    # -- the account -----------------------------------------------------------------------------------------

    def trading_login(self, username: str, password: str) -> Answer:
        """Log in with any name and password."""
        if self.authenticated:
            return {"status": "Already logged in"}
        self.authenticated = True
        return {"status": "Logged in successfully"}

    def trading_get_login_status(self) -> Answer:
        """Whether somebody is logged in."""
        return {"status": bool(self.authenticated)}

    def trading_logout(self) -> Answer:
        """Log out."""
        if not self.authenticated:
            return {"status": "No user is currently logged in"}
        self.authenticated = False
        return {"status": "Logged out successfully"}

    def get_account_info(self) -> Answer:
        """Number, balance and card of the account."""
        return self.account_info if self.authenticated else self._stranger("view account information")

    def fund_account(self, amount: float) -> Answer:
        """Pay money in."""
        if not self.authenticated:
            return self._stranger("fund the account")
        if amount <= 0:
            return refusal("Funding amount must be positive.")
        self.account_info["balance"] += amount
        self._book("deposit", amount)
        return {"status": "Account funded successfully", "new_balance": self.account_info["balance"]}

    def withdraw_funds(self, amount: float) -> Answer:
        """Take money out, while the market is open."""
        if refused := self._no_transaction():
            return refused
        if amount <= 0:
            return refusal("Transaction amount must be positive.")
        return self._withdraw(amount)

    def _no_transaction(self) -> dict[str, Any] | None:
        if not self.authenticated:
            return self._stranger("make a transaction")
        if self.market_status != "Open":
            return refusal("Market is closed. Transactions are not allowed.")
        return None

    def _withdraw(self, amount: float) -> Answer:
        if amount > self.account_info["balance"]:
            return refusal("Insufficient funds for withdrawal.")
        self.account_info["balance"] -= amount
        self._book("withdrawal", amount)
        return {"status": "Withdrawal successful", "new_balance": self.account_info["balance"]}

    def get_transaction_history(self, start_date: str | None = None, end_date: str | None = None) -> Answer:
        """Deposits and withdrawals between two dates; the second one ends at its first moment."""
        if not self.authenticated:
            return [self._stranger("view transaction history")]
        start = datetime.strptime(start_date, "%Y-%m-%d") if start_date else datetime.min
        end = datetime.strptime(end_date, "%Y-%m-%d") if end_date else datetime.max
        found = [
            row
            for row in self.transaction_history
            if start <= datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S") <= end
        ]
        if self.long_context:
            found.extend(self._filler("TRANSACTION_HISTORY_EXTENSION"))
        return {"transaction_history": found}

    # -- orders ----------------------------------------------------------------------------------------------

    def place_order(self, order_type: str, symbol: str, price: float, amount: int) -> Answer:
        """Place an order; what the answer calls pending is open when asked about later."""
        if not self.authenticated:
            return self._stranger("place an order")
        if symbol not in self.stocks:
            return refusal(f"Invalid stock symbol: {symbol}")
        if price <= 0 or amount <= 0:
            return refusal("Price and amount must be positive values.")
        if refused := self._too_dear(order_type, price, amount):
            return refused
        price = float(price)
        number = self.order_counter
        self.orders[number] = order(number, order_type, symbol, price, amount, "Open")
        self.order_counter += 1
        return {
            "order_id": number,
            "order_type": order_type,
            "status": "Pending",
            "price": price,
            "amount": amount,
        }

    def _too_dear(self, order_type: str, price: float, amount: int) -> dict[str, Any] | None:
        if order_type.lower() != "buy":
            return None
        cost, balance = float(price) * int(amount), self.account_info.get("balance", 0)
        if cost > balance:
            return refusal(f"Insufficient funds: required ${cost:.2f} but only ${balance:.2f} available.")
        return None

    def get_order_details(self, order_id: int) -> Answer:
        """One order."""
        if order_id not in self.orders:
            known = str(list(self.orders))
            return refusal(f"Order with ID {order_id} not found.Here is the list of orders_id: {known}")
        if not self.long_context:
            return self.orders[order_id]
        found = self.orders[order_id].copy()
        symbol, details = found["symbol"], self._filler("ORDER_DETAIL_EXTENSION")
        return {**found, "metadata": {name: text.format(symbol=symbol) for name, text in details.items()}}

    def cancel_order(self, order_id: int) -> Answer:
        """Cancel an order that is not completed."""
        if order_id not in self.orders:
            return refusal(f"Order with ID {order_id} not found.")
        if self.orders[order_id]["status"] == "Completed":
            return refusal(f"Can't cancel order {order_id}. Order is already completed.")
        self.orders[order_id]["status"] = "Cancelled"
        return {"order_id": order_id, "status": "Cancelled"}

    def get_order_history(self) -> Answer:
        """Numbers of all orders."""
        if not self.authenticated:
            return [self._stranger("view order history")]
        return {"history": list(self.orders)}

    # -- the market ------------------------------------------------------------------------------------------

    def get_current_time(self) -> Answer:
        """The time of day."""
        return {"current_time": NOW.strftime("%I:%M %p")}

    def get_symbol_by_name(self, name: str) -> Answer:
        """A company's stock symbol."""
        return {"symbol": SYMBOLS.get(name, "Stock not found")}

    def get_stock_info(self, symbol: str) -> Answer:
        """Price, change, volume and moving averages of a stock."""
        if symbol not in self.stocks:
            return refusal(f"Stock with symbol '{symbol}' not found.")
        if not self.long_context:
            return self.stocks[symbol]
        averages = {"MA(5)": self._filler("MA_5_EXTENSION"), "MA(20)": self._filler("MA_20_EXTENSION")}
        return {**self.stocks[symbol], **averages}

    def get_available_stocks(self, sector: str) -> Answer:
        """Symbols of a sector, whether the market has them or not."""
        found = list(SECTORS.get(sector, ()))
        if self.long_context and sector in SECTORS:
            found.extend(self._filler(f"{sector.upper()}_EXTENSION"))
        return {"stock_list": found}

    def filter_stocks_by_price(self, stocks: list[str], min_price: float, max_price: float) -> Answer:
        """Those of these symbols whose price lies in a range; one that the market lacks costs 0."""
        prices = ((symbol, self.stocks.get(symbol, {}).get("price", 0)) for symbol in stocks)
        return {"filtered_stocks": [s for s, price in prices if price >= min_price and price <= max_price]}

    def notify_price_change(self, stocks: list[str], threshold: float) -> Answer:
        """Those of these symbols whose price changed by a percentage or more."""
        changed = [
            symbol
            for symbol in stocks
            if symbol in self.stocks and abs(self.stocks[symbol]["percent_change"]) >= threshold
        ]
        if not changed:
            return {"notification": "No significant price changes in the selected stocks."}
        return {"notification": f"Stocks {', '.join(changed)} have significant price changes."}

    # -- the watch list --------------------------------------------------------------------------------------

    def get_watchlist(self) -> Answer:
        """The watch list; a bare list in the long-context category."""
        if not self.authenticated:
            return ["Error: User not authenticated. Please log in to view the watchlist."]
        if self.long_context:
            return [*self.watch_list, *self._filler("WATCH_LIST_EXTENSION")]
        return {"watchlist": self.watch_list}

    def add_to_watchlist(self, stock: str) -> Answer:
        """Watch a stock that the market has; nobody has to be logged in."""
        if stock not in self.watch_list and stock in self.stocks:
            self.watch_list.append(stock)
        return {"watchlist": self.watch_list}

    def remove_stock_from_watchlist(self, symbol: str) -> Answer:
        """Watch a stock no longer."""
        if not self.authenticated:
            return self._stranger("modify the watchlist")
        if symbol not in self.watch_list:
            return refusal(f"Stock {symbol} not found in watchlist.")
        self.watch_list.remove(symbol)
        return {"status": f"Stock {symbol} removed from watchlist successfully."}
